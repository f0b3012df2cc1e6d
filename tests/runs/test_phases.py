"""What a training and a test took: the record that is left, and a GPU's counter read by its own name."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
import torch

from videoadapt.cli import submit, test, train
from videoadapt.runs.energy import EnergyMeter

GPU = torch.device("cuda", 0)


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as torch tells its name."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-ab"))


@pytest.mark.usefixtures("a_gpu")
def test_energy_is_the_counters_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, asked = [1_000_000, 3_500_000], []
    for name in ("nvmlInit", "nvmlShutdown"):
        monkeypatch.setattr(pynvml, name, lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: asked.append(uuid) or "handle")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: counts.pop(0))
    assert EnergyMeter(GPU).joules() == 2500  # the counter has millijoules
    assert asked == ["GPU-12-ab"] * 2  # CUDA_VISIBLE_DEVICES changes torch's numbers, and not NVML's


@pytest.mark.usefixtures("a_gpu")
def test_a_gpu_without_a_counter_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    meter = EnergyMeter(GPU)
    assert meter.joules() is None and meter.why_not == "NVML: Not Supported"
    assert EnergyMeter(torch.device("cpu")).joules() is None


@pytest.fixture
def again(finished_run: Path, tmp_path: Path) -> list[str]:
    """The command of a finished run, whose copy is in `out`: it has nothing left to train, and tests again."""
    shutil.copytree(finished_run, tmp_path / "out")
    return ["--cfg", str(tmp_path / "out" / "config.yaml"), f"output={tmp_path / 'out'}"]


def test_a_copied_run_is_not_taken_for_the_other(
    again: list[str], finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its config names the folder that it was copied from, whose results a test would write over."""
    before = (finished_run / "results.json").stat().st_mtime_ns
    cfg, copy = again[1], Path(again[1]).parent
    for command, arguments in ((train, []), (test, ["test.clips=1"]), (submit, ["--dry-run"])):
        assert command.main(["--cfg", cfg, *arguments]) == 2
        assert (
            f"for the run there add output {copy}, for the other one output {finished_run}" in capsys.readouterr().err
        )
    assert (finished_run / "results.json").stat().st_mtime_ns == before
    copy.rename(copy.parent / "moved")
    copy.symlink_to(copy.parent / "moved")
    assert test.main([*again[:2], "output", str(copy), "data.test=nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_record_of_each_phase(again: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert train.main(again) == 0
    found = [json.loads(line) for line in (output / "phases.jsonl").read_text().splitlines()]
    assert [(of["phase"], of["steps"]) for of in found] == [("training", [0, 6]), ("test", [6, 6]), ("test", [6, 6])]
    assert all(of["sec"] > 0 and of["joules"] is None and of["machine"]["versions"]["torch"] for of in found)
    assert sum(count for _, count, trained in found[0]["parameters"] if trained) == 912


def test_half_a_record_costs_no_other(again: list[str], tmp_path: Path) -> None:
    """A full disk leaves it; the next one went on in its line, and the report refused both."""
    output = tmp_path / "out"
    whole = (output / "phases.jsonl").read_text()
    with (output / "phases.jsonl").open("a") as file:
        file.write(whole[:30])
    assert train.main(again) == 0
    found = (output / "phases.jsonl").read_text()
    assert found.startswith(whole) and json.loads(found.removeprefix(whole))["phase"] == "test"
