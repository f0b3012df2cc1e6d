"""`read_clip`: the frames it takes, and what it says of wrong arguments."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.media import write_video
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.clip import read_clip
from videoadapt.video.decoders import open_video
from videoadapt.video.readers import ViewReader
from videoadapt.video.samplers.dense import Dense

NUM_FRAMES = 48


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "film.mp4", num_frames=NUM_FRAMES, bframes=2)


def frames(file: Path, indices: Any) -> torch.Tensor:
    """uint8 (3, T, H, W)"""
    with open_video(file) as video:
        return torch.from_numpy(video.get(indices)).permute(3, 0, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "indices"),
    [
        ({}, [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, *[44] * 5]),  # too short for 16 frames at stride 4
        ({"num_frames": 4, "stride": 4}, [16, 20, 24, 28]),  # listed: 0, 4, ..., 44; the middle four
        ({"num_frames": 3, "stride": 2, "start": 5}, [5, 7, 9]),
        ({"num_frames": 3, "stride": 2, "start": 0}, [0, 2, 4]),
        ({"num_frames": 4, "stride": 4, "start": 39}, [39, 43, 47, 47]),
        ({"num_frames": 2, "stride": 30, "start": np.int64(20)}, [20, 20]),
    ],
)
def test_which_frames(arguments: dict[str, Any], indices: list[int], file: Path) -> None:
    for decoder in ("decord", {"name": "pyav", "threads": 2}):
        clip_CTHW = read_clip(str(file), decoder=decoder, **arguments)
        assert clip_CTHW.shape == (3, len(indices), 48, 64) and clip_CTHW.dtype == torch.uint8
        assert clip_CTHW.is_contiguous() and torch.equal(clip_CTHW, frames(file, indices))


def test_the_middle_clip_is_the_one_of_a_test(file: Path) -> None:
    reader = ViewReader(
        FrameSource({"name": "decord"}), Dense(stride_frames=3), num_frames=8, crop_px=32, num_clips=1, num_crops=1
    )
    assert torch.equal(read_clip(file, 8, 3, crop_px=32), reader(file)[0, 0])


def test_random_clips_are_those_of_training(file: Path) -> None:
    clips = [read_clip(file, 4, 2, rng=np.random.default_rng(seed)) for seed in range(4)]
    starts = [Dense(stride_frames=2).train_indices(NUM_FRAMES, 4, np.random.default_rng(seed)) for seed in range(4)]
    assert all(torch.equal(clip, frames(file, indices)) for clip, indices in zip(clips, starts, strict=True))
    assert not torch.equal(clips[0], clips[1])


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"num_frames": 0}, ConfigError, "^num_frames = 0: allowed: 1 or more"),
        ({"stride": -1}, ConfigError, "^stride = -1: allowed: 1 or more"),
        ({"stride": 2.5}, TypeError, "^stride = 2.5: expected a whole number"),
        ({"crop_px": 0}, ConfigError, "^crop_px = 0: allowed: 1 or more"),
        ({"start": -1}, ConfigError, "^start = -1: allowed: 0 or more"),
        ({"start": "5"}, TypeError, "^start = '5': expected a whole number"),
        ({"start": NUM_FRAMES}, DecodeError, r"film.mp4: no frame start = 48; allowed: 0 to 47"),
        ({"start": 0, "rng": np.random.default_rng(0)}, ConfigError, "^start and rng: "),
        ({"rng": 0}, TypeError, "^rng = 0: expected a numpy.random.Generator"),
        ({"decoder": "decrod"}, ConfigError, "did you mean 'decord'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], said: str, file: Path) -> None:
    with pytest.raises(error, match=said):
        read_clip(file, **arguments)


def test_what_is_no_file(tmp_path: Path) -> None:
    for wrong in (3, None, [tmp_path]):
        with pytest.raises(TypeError, match=r"^file: expected a path"):
            read_clip(wrong)  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match=f"^{tmp_path}/none.mp4: "):
        read_clip(tmp_path / "none.mp4")
