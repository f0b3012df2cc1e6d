"""A run whose weights have a name: downloaded once nothing else is wrong, pinned in all it leaves, and found again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import videoadapt as va
from tests.hub_server import Hub, point_at, serving
from tests.toy_runs import results, run, toy_config, write_config
from tests.weight_files import SIZES, trunk
from videoadapt.cli import convert, demo, features, train
from videoadapt.config.loading import load_config
from videoadapt.errors import CheckpointError
from videoadapt.runs.named_weights import with_commits
from videoadapt.runs.statement import backbone_fingerprint
from videoadapt.weights.names import cache_folder
from videoadapt.weights.published import _web

NAME = "anna/trunk"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(_web, "WAIT_SEC", 0.01)
    with serving() as hub:
        for key, value in point_at(hub, tmp_path, monkeypatch).items():
            monkeypatch.setenv(key, value)  # for processes of their own
        weights = trunk(tmp_path / "w.safetensors").read_bytes()
        hub.add(NAME, {"model.safetensors": weights}, card={"license": "mit"})
        yield hub


def named_config(folder: Path, clips: Path, **changes: object) -> Path:
    sections = {"model": {"weights": f"hf:{NAME}"}, "train": {"epochs": 1}, **changes}
    return write_config(folder / "c.yaml", toy_config(folder / "run", clips, **sections))


def forget(folder: Path) -> None:
    """As on another machine."""
    shutil.rmtree(cache_folder())
    shutil.rmtree(constants.HF_HUB_CACHE)


def test_a_run_is_pinned_in_all_that_it_leaves(
    hub: Hub, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, repo = named_config(tmp_path, clips), hub.repositories[NAME]
    sha = repo.revisions["main"]
    assert train.main(["--cfg", str(path)]) == 0, capsys.readouterr().err
    assert "licence mit" in capsys.readouterr().err
    folder, pinned = tmp_path / "run", f"hf:{NAME}@{sha}"
    assert load_config(folder / "config.yaml").model.weights == pinned
    said = results(folder)["weights"]["model.weights"]
    assert said["name"] == pinned and said["licence"] == "mit" and len(said["sha256"]["model.safetensors"]) == 64

    repo.files["model.safetensors"] = trunk(tmp_path / "other.safetensors", seed=2).read_bytes()
    newer = repo.commit()
    config = load_config(path)
    assert with_commits(config).model.weights == pinned  # the same command goes on with the same commit
    elsewhere = config.model_copy(update={"output": tmp_path / "new"})
    assert with_commits(elsewhere).model.weights == f"hf:{NAME}@{newer}"
    before = results(folder)["statement"]
    assert train.main(["--cfg", str(path), "train.epochs", "1"]) == 0 and results(folder)["statement"] == before

    adapter, video = folder / "adapter.safetensors", next((clips / "test").rglob("*.mp4"), None)
    video = video or next(clips.rglob("*.mp4"))
    answer = va.load(adapter, device="cpu").logits(video)
    assert torch.equal(answer, va.load(folder, device="cpu").logits(video))

    forget(tmp_path)
    hub.requests.clear()
    with pytest.raises(CheckpointError, match="which is not on this machine; name it as `weights` to download it"):
        va.load(adapter, device="cpu")
    assert not hub.requests  # a file by itself downloads nothing
    assert demo.main([str(video), "--adapter", str(adapter), "--weights", pinned, "--device", "cpu"]) == 0
    assert "licence mit" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="was trained on another backbone"):
        va.load(adapter, weights=f"hf:{NAME}", device="cpu")


def test_nothing_is_downloaded_for_a_run_that_cannot_begin(
    hub: Hub, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = named_config(tmp_path, clips, test={"clips": 2, "crops": 3, "max_unreadable": 0.5})
    assert train.main(["--cfg", str(path), "data.test", "nothing"]) == 2
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path or path.startswith("/cdn")]
    assert train.main(["--cfg", str(path), "model.weights", "hf:anna/trnk"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "anna/trnk" in line and "error" in line]
    assert "error: model.weights = hf:anna/trnk: no such repository" in line
    assert not (tmp_path / "run").exists()


def test_features_convert_and_python_take_names(
    hub: Hub, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from videoadapt.export.conversion import convert as converted

    assert convert.main([f"hf:{NAME}", str(tmp_path / "own.safetensors")]) == 0
    there = capsys.readouterr().out
    assert converted(tmp_path / "w.safetensors", tmp_path / "again.safetensors")[-2] in there  # the checksum of tensors
    model = va.create_model("vit", num_classes=3, weights=f"hf:{NAME}", num_frames=4, crop_px=32, **without_name(SIZES))
    local = va.create_model(
        "vit", num_classes=3, weights=tmp_path / "w.safetensors", num_frames=4, crop_px=32, **without_name(SIZES)
    )
    assert backbone_fingerprint(model) == backbone_fingerprint(local)
    with pytest.raises(CheckpointError, match="weights = hf:anna/none: no such repository"):
        va.create_model("vit", num_classes=3, weights="hf:anna/none")
    arguments = [str(tmp_path / "f.npz"), "--cfg", str(named_config(tmp_path, clips)), "--device", "cpu"]
    assert features.main([*arguments, "--list", "test", "--root", str(clips)]) == 0


@pytest.mark.slow
def test_two_ranks_download_once(hub: Hub, clips: Path, tmp_path: Path) -> None:
    said = run(named_config(tmp_path, clips), "train.batch_size", "4", ranks=2)
    assert said.count("licence mit") == 1
    assert len([path for _, path, _ in hub.requests if path.startswith("/cdn")]) == 1


def without_name(component: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in component.items() if key != "name"}
