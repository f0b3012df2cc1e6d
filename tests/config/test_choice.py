"""`_CHOOSE_`: of several configs the first that this machine and its weights can run; a run keeps what it began with."""

from pathlib import Path

import pytest
import torch

from videoadapt.config.loading import dump_config, load_config
from videoadapt.errors import ConfigError

LARGE, SMALL = "own_videos_vit_b", "own_videos_small"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.fixture
def weights(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/videomae_pretrain_vit_b_k400_1600e.pth").touch()


def chosen(*overrides: str) -> str:
    return load_config("own_videos", overrides).chosen


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen() == f"{SMALL}: {LARGE} needs a GPU, and none is here"
    config = load_config("own_videos", ["data.crop_px=32"])
    assert (config.model.backbone["size"], config.data.crop_px, config.device) == ("tiny", 32, "auto")
    assert config.output == Path("outputs/own_videos") and config.data.dataset["name"] == "class_folders"


@pytest.mark.usefixtures("gpu")
def test_a_gpu_alone() -> None:
    assert chosen() == f"{SMALL}: {LARGE} needs weights/videomae_pretrain_vit_b_k400_1600e.pth, which is not there"


@pytest.mark.usefixtures("gpu", "weights")
def test_a_gpu_and_weights() -> None:
    assert chosen() == f"{LARGE}: all that it needs is here"
    assert load_config("own_videos").model.backbone["size"] == "base"
    assert chosen("device=cpu") == f"{SMALL}: {LARGE} needs a GPU, and device is cpu"
    assert chosen("model.weights=mine.pth") == f"{SMALL}: {LARGE} needs mine.pth, which is not there"


@pytest.mark.usefixtures("gpu", "weights")
def test_a_run_keeps_its_choice(tmp_path: Path) -> None:
    run = tmp_path / "outputs/own_videos"
    run.mkdir(parents=True)
    config = load_config("own_videos", ["device=cpu"])
    (run / "config.yaml").write_text(dump_config(config))
    assert chosen() == f"{SMALL}: as before in outputs/own_videos"
    assert load_config(run / "config.yaml") == config  # nothing is chosen again
    assert chosen("output=other").startswith(LARGE)


def test_a_choice_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("_BASE_: quickstart\nmodel: {weights: nowhere.pth}\n")
    (tmp_path / "mine.yaml").write_text("_CHOOSE_: [a.yaml, quickstart_linear]\ntrain: {epochs: 3}\n")
    config = load_config(tmp_path / "mine.yaml")
    assert config.chosen == "quickstart_linear: a.yaml needs nowhere.pth, which is not there"
    assert (config.train.epochs, config.model.adapter["name"]) == (3, "linear")
    for wrong in ("[]", "quickstart", "[1]"):
        (tmp_path / "mine.yaml").write_text(f"_CHOOSE_: {wrong}\n")
        with pytest.raises(ConfigError, match=r"_CHOOSE_ = .*expected a list of configs"):
            load_config(tmp_path / "mine.yaml")
