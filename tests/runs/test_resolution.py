"""`auto` is decided once: by the machine at the first step, by the checkpoints afterwards."""

import logging
from pathlib import Path

import pytest
import torch

from tests.toy_runs import results, toy_config, write_config
from videoadapt.cli.train import main as train
from videoadapt.config.loading import check_config, load_config
from videoadapt.config.shipped import find_config
from videoadapt.runs import resolution
from videoadapt.runs.adapter_file import read_adapter
from videoadapt.runs.forward import autocast
from videoadapt.runs.resolution import multiplies_bf16, resolved, say_chosen, slowness, warn_if_slow

CPU = torch.device("cpu")


@pytest.fixture
def path(clips: Path, tmp_path: Path) -> Path:
    training = {"epochs": 1, "precision": "auto", "compile": "auto"}
    config = toy_config(tmp_path / "run", clips, train=training, optim={"warmup_epochs": 0})
    return write_config(tmp_path / "c.yaml", config)


@pytest.mark.slow
@pytest.mark.parametrize(("hardware", "precision"), [(True, "bf16"), (False, "fp32")])
def test_the_hardware_decides_and_the_run_keeps_it(
    path: Path, hardware: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = path.parent / "run"
    monkeypatch.setattr(resolution, "multiplies_bf16", lambda device: hardware)
    assert train(["--cfg", str(path)]) == 0
    kept = load_config(folder / "config.yaml").train
    assert (kept.precision, kept.compile) == (precision, False)  # a CPU does not compile by itself
    assert read_adapter(folder / "adapter.safetensors").config.train.precision == precision
    monkeypatch.setattr(resolution, "multiplies_bf16", lambda device: not hardware)  # resumed on another machine
    assert train(["--cfg", str(path), "train.epochs=2", "train.resume=force"]) == 0
    assert load_config(folder / "config.yaml").train.precision == precision
    stated = results(folder)["statement"]["config"]["train"]
    assert stated == {"precision": precision} and results(folder)["other_than_trained"] == {}


def test_a_gpu_with_a_compiler_compiles(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "multiplies_bf16", lambda device: True)
    for missing, compiled in (("", True), ("there is no compiler", False)):
        monkeypatch.setattr(resolution, "missing_compiler", lambda device, missing=missing: missing)
        chosen = resolved(load_config(path), torch.device("cuda")).train
        assert (chosen.precision, chosen.compile) == ("bf16", compiled)


def test_what_a_config_says_is_not_chosen(path: Path) -> None:
    config = load_config(path, ["train.precision=fp16", "train.compile=false"])
    assert resolved(config, torch.device("cuda")) is config


@pytest.mark.parametrize("name", ["hmdb51_adapt", "ssv2_full", "k400_pretrain"])
def test_published_recipes_keep_their_precision(name: str) -> None:
    training = load_config(find_config(name)).train
    assert training.precision in ("fp16", "bf16") and training.compile == "auto"


def test_a_slow_precision_is_said(monkeypatch: pytest.MonkeyPatch, log_lines: list[str]) -> None:
    monkeypatch.setattr(resolution, "slowness", lambda precision: 35.0)
    warn_if_slow("fp16", CPU)
    warn_if_slow("fp32", CPU)
    warn_if_slow("auto", CPU)  # whatever it was: the advice is to say auto
    warn_if_slow("fp16", torch.device("cuda"))
    (line,) = log_lines
    assert line.startswith("WARNING train.precision = fp16: 35 times as slow as fp32 on this CPU; ")


def test_bf16_is_measured_only_without_instructions(monkeypatch: pytest.MonkeyPatch, log_lines: list[str]) -> None:
    monkeypatch.setattr(resolution, "slowness", lambda precision: 2.0)  # as on a busy machine
    for has_them in (True, False):
        monkeypatch.setattr(resolution, "multiplies_bf16", lambda device, has_them=has_them: has_them)
        warn_if_slow("bf16", CPU)
    assert len(log_lines) == 1 and "train.precision = bf16: 2 times as slow" in log_lines[0]


def test_slowness_is_measured() -> None:
    assert 0.02 < slowness("bf16") < 500
    assert isinstance(multiplies_bf16(CPU), bool)


def test_nothing_computes_in_auto() -> None:
    with pytest.raises(ValueError, match="precision = 'auto'"):
        autocast("auto", CPU)


def test_more_epochs_than_asked_for_are_explained(caplog: pytest.LogCaptureFixture) -> None:
    asked = check_config({"output": "x", "train": {"epochs": 3, "batch_size": 8, "least_updates": 300}})
    for epochs, said in ((300, " (train.least_updates = 300 needs more than train.epochs = 3)"), (3, "")):
        chosen = asked.model_copy(update={"train": asked.train.model_copy(update={"epochs": epochs})})
        caplog.clear()
        with caplog.at_level(logging.INFO, "videoadapt"):
            say_chosen(asked, chosen)
        assert caplog.messages == [f"training: {epochs} epochs{said} in batches of 8 videos"]
