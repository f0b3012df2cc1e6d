"""Rendered data sets: real files that decode to what was drawn, made once, whole, and never mixed up."""

import hashlib
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from videoadapt.data.datasets import synthetic
from videoadapt.data.datasets.synthetic import Synthetic
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.errors import ConfigError, DataListError
from videoadapt.registry import DATASETS
from videoadapt.rendering import files as rendering_files
from videoadapt.rendering.motions import MOTIONS, draw_states
from videoadapt.rendering.painting import render


def dataset(**changes: Any) -> Synthetic:
    spec = {"vocabulary": "quickstart", "train_per_class": 2, "val_per_class": 1, "test_per_class": 1}
    return Synthetic(**{**spec, **changes})


def digests(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*.mp4"))}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "quickstart"
    for split in ("train", "val", "test"):
        dataset().load(split, root)
    return root


def test_files_are_short_h264_with_a_keyframe_every_12_frames(rendered: Path) -> None:
    videos = dataset().load("train", rendered)
    assert [v.label for v in videos] == [label for label in range(8) for _ in range(2)]
    for video in videos:
        assert video.path == rendered / video.id and dataset().class_names[video.label] in video.id  # type: ignore[index]
        with av.open(str(video.path)) as container:
            assert len(container.streams) == 1
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert (stream.width, stream.height, stream.frames) == (96, 72, 24) and stream.average_rate == 12
            keys = [frame.key_frame for frame in container.decode(stream)]
        assert len(keys) == 24 and [i for i, key in enumerate(keys) if key] == [0, 12]


def test_a_file_shows_the_motion_of_its_class(rendered: Path) -> None:
    data = dataset()
    for motion in ("left", "grow"):
        seed_B = torch.tensor([data._clip_seed("train", motion, 1)])
        drawn_THWC = render(draw_states([motion], seed_B, 24), seed_B, 72, 96)[0].numpy()
        with av.open(str(rendered / f"train/{motion}/{motion}_0002.mp4")) as container:
            decoded_THWC = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        error_T = np.abs(decoded_THWC.astype(int) - drawn_THWC.astype(int)).mean(axis=(1, 2, 3))
        assert error_T.max() < 8  # levels: 4:2:0 colour and crf 18
        shifted = np.abs(decoded_THWC[1:].astype(int) - drawn_THWC[:-1].astype(int)).mean(axis=(1, 2, 3))
        assert (error_T[1:] < shifted).mean() > 0.9  # and it is this frame, not its neighbour


def test_loading_again_renders_only_what_is_missing(rendered: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*.mp4")}
    digest = digests(rendered)
    lost = rendered / "train/grow/grow_0001.mp4"
    lost.unlink()
    dataset().load("train", rendered)
    after = {path: path.stat().st_mtime_ns for path in rendered.rglob("*.mp4")}
    assert {path for path in after if after[path] != before[path]} == {lost}
    assert digests(rendered) == digest  # the same recipe gives the same bytes
    assert not list(rendered.rglob("*.partial"))


def test_splits_vocabularies_and_seeds_share_no_clip() -> None:
    seeds = [
        dataset(vocabulary=vocabulary, seed=seed)._clip_seed(split, motion, index)
        for vocabulary in MOTIONS
        for seed in (0, 1)
        for split in ("train", "val", "test")
        for motion in MOTIONS[vocabulary]
        for index in range(50)
    ]
    assert len(seeds) == len(set(seeds)) == 2 * 3 * (8 + 22 + 16) * 50


def test_all_rendered_files_differ(rendered: Path) -> None:
    found = digests(rendered)
    assert len(found) == len(set(found.values())) == 8 * (2 + 1 + 1)


def test_lists_are_readable_as_a_video_list(rendered: Path) -> None:
    for split in ("train", "val", "test"):
        listed = VideoList().load(str(rendered / f"{split}.csv"), rendered)
        assert list(listed) == list(dataset().load(split, rendered))
    assert (rendered / "classes.txt").read_text().splitlines() == dataset().class_names == list(MOTIONS["quickstart"])


@pytest.mark.slow
def test_processes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    dataset(train_per_class=3).load("train", alone)
    monkeypatch.setattr(rendering_files, "_FEWEST_FILES_FOR_PROCESSES", 0)
    monkeypatch.setattr(rendering_files, "usable_cores", lambda: 2)
    dataset(train_per_class=3).load("train", together)
    assert digests(alone) == digests(together) and len(digests(alone)) == 24


def test_a_failure_leaves_no_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(path: Path, frames_THWC: np.ndarray) -> None:
        path.write_bytes(b"half a file")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(rendering_files, "_encode", break_off)
        with pytest.raises(OSError, match="disk full"):
            dataset().load("val", tmp_path / "data")
    assert not [p for p in (tmp_path / "data/val").rglob("*") if p.is_file()]
    assert len(digests(tmp_path / "data")) == 0
    dataset().load("val", tmp_path / "data")
    assert len(digests(tmp_path / "data")) == 8


def test_another_recipe_in_the_same_folder_is_refused(rendered: Path) -> None:
    with pytest.raises(DataListError, match="train_per_class is 2 there, 3 now") as error:
        dataset(train_per_class=3).load("train", rendered)
    assert str(rendered) in str(error.value) and "choose another root" in str(error.value)
    with pytest.raises(DataListError, match="vocabulary is 'quickstart' there, 'trunk' now"):
        dataset(vocabulary="trunk").load("train", rendered)
    assert not (rendered / "train/up").exists()


def test_another_renderer_is_refused(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "RENDERER_VERSION", synthetic.RENDERER_VERSION + 1)
    with pytest.raises(DataListError, match="renderer_version is"):
        dataset().load("train", rendered)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("mine.avi 0\n")
    with pytest.raises(DataListError, match="holds other files"):
        dataset().load("train", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["train.csv"]


def test_a_broken_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"seed": ')
    with pytest.raises(DataListError, match=r"recipe\.json: is not a recipe"):
        dataset().load("train", tmp_path)


def test_wrong_sources_and_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataListError, match=r"trian.*did you mean 'train'"):
        dataset().load("trian", tmp_path)
    with pytest.raises(DataListError, match="val_per_class is 0"):
        dataset(val_per_class=0).load("val", tmp_path)
    with pytest.raises(ConfigError, match="train_per_class = -1"):
        dataset(train_per_class=-1)
    with pytest.raises(ConfigError, match="vocabulary = 'trunc': input should be 'quickstart', 'trunk' or 'table'"):
        dataset(vocabulary="trunc")
    assert not list(tmp_path.iterdir())


def test_the_registry_finds_it_and_its_recipe_is_complete(tmp_path: Path) -> None:
    spec = {"name": "synthetic", "vocabulary": "trunk", "train_per_class": 1, "val_per_class": 1, "test_per_class": 1}
    built = DATASETS.build(spec)
    assert built.class_names == list(MOTIONS["trunk"])
    built.load("val", tmp_path / "trunk")
    recipe = json.loads((tmp_path / "trunk/recipe.json").read_text())
    assert recipe.keys() >= DATASETS.schema("synthetic").keys()
