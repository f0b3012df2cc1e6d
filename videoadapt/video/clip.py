"""One clip of a video file, for a notebook or a data set of one's own.

Shapes: T frames, H W pixels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoadapt.errors import ConfigError, DecodeError, check_count
from videoadapt.video.decoders import open_video
from videoadapt.video.frames import Frames
from videoadapt.video.part import FramesOfPart, Part, part_between
from videoadapt.video.resizing import resize_to_cover
from videoadapt.video.samplers.dense import Dense
from videoadapt.video.sides import CropPx, sides_of
from videoadapt.video.transforms import view_crops


def read_clip(
    file: str | Path,
    num_frames: int = 16,
    stride: int = 4,
    *,
    start: int | None = None,
    start_sec: float | None = None,
    end_sec: float | None = None,
    rng: np.random.Generator | None = None,
    crop_px: CropPx | None = None,
    fps_hz: float | None = None,
    decoder: str | Mapping[str, Any] = "decord",
) -> Tensor:
    """Every `stride`-th frame of a video, `num_frames` of them: uint8 (3, T, H, W), RGB.

    The clip lies in the middle, as a single test clip does, or begins at the frame `start`, or with `rng` at random,
    as a training clip does. A video that is too short repeats the last of its frames at the stride. `crop_px`, a
    number or height and width: frames are resized to just cover it and the middle is cut out, as for testing; otherwise they
    keep their size. `fps_hz`: the video
    is seen at this rate, by its time stamps, and `stride` and `start` count the frames that it then has. What is between
    `start_sec` and `end_sec`, or one of them and the video's own end, is taken for a video of its own.
    Raises DecodeError naming a file that cannot be read or has no frame `start`.
    """
    check_count("num_frames", num_frames)
    check_count("stride", stride)
    sides = None if crop_px is None else sides_of(crop_px)
    check_count("start", 0 if start is None else start, least=0)
    if not isinstance(rng, np.random.Generator | None):
        raise TypeError(f"rng = {rng!r}: expected a numpy.random.Generator, such as numpy.random.default_rng(0)")
    if start is not None and rng is not None:
        raise ConfigError("start and rng: both say where the clip begins; give one of them")
    part = part_between(start_sec, end_sec)
    dense = Dense(stride_frames=stride, fps_hz=fps_hz)
    with open_video(file, decoder) as film:
        video: Frames = film if part == Part() else FramesOfPart(film, part, film.path)
        if rng is not None:
            indices_T = dense.train_clip(video, num_frames, rng)
        elif start is None:
            (indices_T,) = dense.test_clips(video, num_frames, 1)
        else:
            indices_T = _indices_from(start, video, num_frames, stride, fps_hz, film.path)
        clip_TCHW = torch.from_numpy(video.get(indices_T)).permute(0, 3, 1, 2)
    if sides is not None:
        (clip_TCHW,) = view_crops(resize_to_cover(clip_TCHW, *sides), sides, 1)
    return clip_TCHW.transpose(0, 1).contiguous()


def _indices_from(
    start: int, video: Frames, num_frames: int, stride: int, fps_hz: float | None, path: Path
) -> np.ndarray:
    """Which frames a clip from frame `start` on has, where `fps_hz` says so of those that are shown at this rate."""
    if fps_hz is None:
        return _strided(start, video.num_frames, num_frames, stride, path)
    times = video.times
    return times.shown_at(_strided(start, times.num_frames_at(fps_hz), num_frames, stride, path), fps_hz)


def _strided(start: int, num_video_frames: int, num_frames: int, stride: int, path: Path) -> np.ndarray:
    if start >= num_video_frames:
        raise DecodeError(f"{path}: no frame start = {start}; allowed: 0 to {num_video_frames - 1}")
    last_step = (num_video_frames - 1 - start) // stride
    return start + np.minimum(np.arange(num_frames), last_step) * stride
