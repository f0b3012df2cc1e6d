"""Exports are read back by another program, or by our strict loader, and give the same logits."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.toy_models import ADAPTERS
from tests.toy_runs import toy_config, write_config
from videoadapt.cli import export, train
from videoadapt.config.loading import load_config
from videoadapt.runs.build import open_run
from videoadapt.runs.inputs import find_problems
from videoadapt.weights.formats import read_weights

UNMERGEABLE = {
    "adaptformer": "AdaptMLP has a ReLU",
    "houlsby": "its bottleneck has a GELU",
    "adapter_plus": "its bottleneck has a GELU",
    "st_adapter": "its convolution mixes tokens",
    "aim": "it attends over time",
    "attentive_probe": "its query has no place in the backbone",
    "probe_over_times": "its query has no place in the backbone",
    "vpt+st_adapter": "its tokens take part in the attention",
}


FAST = ("linear", "adaptformer", "lora")
EVERY = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ADAPTERS]


@pytest.fixture(scope="module", params=EVERY)
def run(request: pytest.FixtureRequest, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    config = toy_config(
        folder / "run",
        clips,
        model={"adapter": ADAPTERS[request.param]},
        train={"epochs": 1},
        test={"enable": False},
    )
    assert train.main(["--cfg", str(write_config(folder / "c.yaml", config))]) == 0
    return folder / "run"


def logits(run: Path, clips_BCTHW: torch.Tensor) -> np.ndarray:
    _, _, model = open_run(run, torch.device("cpu"))
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        return model((clips_BCTHW / 255 - mean) / std).numpy()


@pytest.fixture
def clips_BCTHW() -> torch.Tensor:
    return torch.randint(256, (2, 3, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def test_onnx(run: Path, clips_BCTHW: torch.Tensor, tmp_path: Path) -> None:
    assert export.main([str(tmp_path / "m.onnx"), "--run", str(run)]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"clips": clips_BCTHW.numpy()})[0]
    np.testing.assert_allclose(found, logits(run, clips_BCTHW), atol=1e-5)
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    assert names == (run / "classes.txt").read_text().splitlines()


def test_torch_export(run: Path, clips_BCTHW: torch.Tensor, tmp_path: Path) -> None:
    assert export.main([str(tmp_path / "m.pt2"), "--run", str(run)]) == 0
    extra = {"class_names": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    np.testing.assert_allclose(program.module()(clips_BCTHW).detach(), logits(run, clips_BCTHW), atol=1e-5)
    assert json.loads(extra["class_names"]) == (run / "classes.txt").read_text().splitlines()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_merged(
    run: Path, suffix: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = UNMERGEABLE.get(request.node.callspec.params["run"])
    code = export.main([str(tmp_path / f"m.{suffix}"), "--run", str(run)])
    captured = capsys.readouterr()
    if reason:
        assert code == 2 and f"cannot be merged into the backbone exactly ({reason})" in captured.err
        assert not list(tmp_path.iterdir())
        return
    assert code == 0 and "its logits differ by" in captured.out
    assert read_weights(str(tmp_path / f"m.{suffix}")).format == "VideoMAE fine-tuned"


@pytest.mark.parametrize("run", ["linear"], indirect=True)
def test_a_wrong_export_is_deleted_and_fails(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "videoadapt.models.head.Head.fold_norm", lambda head: setattr(head, "norm", torch.nn.Identity())
    )
    assert export.main([str(tmp_path / "m.safetensors"), "--run", str(run)]) == 2
    assert "deleted, because its logits differ" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("run", ["linear"], indirect=True)
def test_another_suffix(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(tmp_path / "m.bin"), "--run", str(run)]) == 2
    assert "allowed: .onnx, .pt2, .safetensors, .pth" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["linear"], indirect=True)
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_an_exported_head_is_used_with_its_classes(run: Path, suffix: str, clips: Path, tmp_path: Path) -> None:
    merged, names = tmp_path / f"m.{suffix}", (run / "classes.txt").read_text().splitlines()
    assert export.main([str(merged), "--run", str(run)]) == 0
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in [*names[1:], names[0]]))
    head = ["model.head.batch_norm=false", "model.adapter={name: full}", "train.enable=false", "test.enable=true"]
    same = load_config(run / "config.yaml", [f"model.weights={merged}", f"output={tmp_path}/out", *head])
    assert find_problems(same)[1] == []
    other = same.model_copy(update={"data": same.data.model_copy(update={"classes": str(tmp_path / "classes.txt")})})
    (problem,) = find_problems(other)[1]
    assert problem.startswith(f"model.weights = {merged}: its head's class 0 is {names[0]!r} in the file and ")
