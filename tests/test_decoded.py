"""Frames that are kept once decoded are the decoder's own, to the bit, and never those of another file."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs import toy_config, write_config
from videoadapt import data
from videoadapt.config import DataConfig, load_config
from videoadapt.decoders import Decoder, KeptFrames, _kept, open_kept, open_video
from videoadapt.errors import DecodeError
from videoadapt.splits import load_splits
from videoadapt.structures import Video

SPEC = {"name": "decord"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DataConfig, list[Path]]]:
    folder = tmp_path_factory.mktemp("decoded")
    dataset = {
        "name": "synthetic",
        "vocabulary": "table",
        "train_per_class": 1,
        "val_per_class": 0,
        "test_per_class": 1,
    }
    config = load_config(
        write_config(folder / "c.yaml", toy_config(folder / "out", folder / "clips", data={"dataset": dataset}))
    )
    splits = load_splits(config)
    assert len(splits.class_names) == 16
    yield config.data, [video.path for video in splits.train]


def frames(decoder: Decoder | KeptFrames) -> np.ndarray:
    with decoder:
        return decoder.get(range(decoder.num_frames))


def test_the_second_time_comes_from_the_folder(videos: tuple[DataConfig, list[Path]], tmp_path: Path) -> None:
    path = videos[1][0]
    expected = frames(open_video(path, SPEC))
    for _ in range(2):
        kept = open_kept(path, SPEC, tmp_path)
        assert isinstance(kept, KeptFrames) and (kept.num_frames, kept.height, kept.width) == (24, 72, 96)
        assert np.array_equal(frames(kept), expected) and kept.get([5, 0, 5]).flags.c_contiguous
        assert np.array_equal(kept.get([5, 0, 5]), expected[[5, 0, 5]])
        for index in (24, -1):
            with pytest.raises(DecodeError, match=f"no frame {index}; allowed: 0 to 23"):
                kept.get([index])
    assert len(list(tmp_path.rglob("*"))) == 2  # a folder and a file: nothing half-written stays
    open_kept(path, {"name": "pyav"}, tmp_path)
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_another_file_under_the_name_is_decoded_anew(videos: tuple[DataConfig, list[Path]], tmp_path: Path) -> None:
    path, sources = tmp_path / "v.mp4", videos[1][:2]
    size = max(source.stat().st_size for source in sources) + 8
    for time_ns, source in enumerate(sources):  # of the same size, which an empty box at the end of the file makes
        rest = size - source.stat().st_size
        path.write_bytes(source.read_bytes() + rest.to_bytes(4, "big") + b"free" + bytes(rest - 8))
        os.utime(path, ns=(0, time_ns))
        assert np.array_equal(frames(open_kept(path, SPEC, tmp_path / "kept")), frames(open_video(source, SPEC)))
    path.unlink()
    with pytest.raises(DecodeError, match=r"v\.mp4"):
        open_kept(path, SPEC, tmp_path / "kept")


def test_a_file_cut_short_is_decoded_anew(videos: tuple[DataConfig, list[Path]], tmp_path: Path) -> None:
    expected = frames(open_kept(videos[1][0], SPEC, tmp_path))
    kept = next(tmp_path.rglob("*.npy"))
    for size in (0, 40, kept.stat().st_size - 1):
        os.truncate(kept, size)
        assert np.array_equal(frames(open_kept(videos[1][0], SPEC, tmp_path)), expected)
        assert isinstance(open_kept(videos[1][0], SPEC, tmp_path), KeptFrames) and kept.stat().st_size > size


def test_large_videos_are_not_kept(
    videos: tuple[DataConfig, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kept, "LARGEST_BYTES", 24 * 72 * 96 * 3 - 1)
    assert isinstance(open_kept(videos[1][0], SPEC, tmp_path), Decoder) and not list(tmp_path.iterdir())


def test_clips_and_views_are_the_same_bits(videos: tuple[DataConfig, list[Path]], tmp_path: Path) -> None:
    config, paths = videos
    rows = [Video(path.name, path, label, label + 1) for label, path in enumerate(paths[:3])]
    keeping = config.model_copy(update={"decoded": tmp_path})
    for _ in range(2):
        plain, kept = (data.TrainClips(rows, c, seed=3) for c in (config, keeping))
        for key in ((0, 0), (1, 2)):
            assert torch.equal(plain[key][0].frames_CTHW, kept[key][0].frames_CTHW)
        views, kept_views = (data.TestViews(rows, c, 2, 3)[1].views_VCTHW for c in (config, keeping))
        assert torch.equal(views, kept_views)
