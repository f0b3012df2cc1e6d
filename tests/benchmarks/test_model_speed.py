"""The benchmark of the model: its rows on a CPU, and the peers' work."""

import json
from pathlib import Path

import pytest

from benchmarks.model_speed import needed_gflops
from benchmarks.run import main
from benchmarks.setting import Setting
from videoadapt.config.schema import ModelConfig
from videoadapt.runs.build import build_model

SMALL = ["--size", "tiny", "--frames", "8", "--crop", "32", "--batch", "2", "--steps", "2", "--no-compile"]


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_ours_and_the_plain_model(mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.md"
    arguments = ["model", *SMALL, "--mode", mode, "--precision", "fp32", "--device", "cpu", "--peers", "plain"]
    assert main([*arguments, "--out", str(table)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["who"] for row in result["rows"]] == ["videoadapt", "plain"]
    for row in result["rows"]:
        assert row["least_ms"] <= row["ms"] <= row["most_ms"]
        assert row["clips_per_sec"] == pytest.approx(2000 / row["ms"])
        assert row["who"] in table.read_text()


@pytest.mark.parametrize(("adapter", "passes"), [("linear", 2.0), ("full", 3.0)])
def test_work_of_an_update(adapter: str, passes: float) -> None:
    """Forward, the gradients between layers, and those of the trained matrices: none for a frozen backbone, as much for all."""
    model = build_model(ModelConfig(backbone={"name": "vit", "size": "tiny"}, adapter={"name": adapter}), 174, 8, 32)
    settings = [
        Setting(mode, {}, {}, batch=2, num_frames=8, crop_px=32, precision="fp32", compiled=False)
        for mode in ("train", "infer")
    ]
    trained, inferred = (needed_gflops(model, setting) for setting in settings)
    assert trained / inferred == pytest.approx(passes, abs=0.03)  # the head of a tiny model has 2 % of its numbers
