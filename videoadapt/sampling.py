"""Which frames of a video make a clip: index arithmetic, no video and no torch.

Shapes: T frames of a clip, V test clips of a video. All indices are int64, sorted along T, and within [0, n).
"""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from videoadapt.errors import ConfigError, DecodeError

Indices = NDArray[np.int64]


def _check(num_video_frames: int, num_frames: int, num_clips: int = 1) -> None:
    if num_video_frames < 1:
        raise DecodeError(f"a video of {num_video_frames} frames has nothing to sample")
    for key, value in (("num_frames", num_frames), ("num_clips", num_clips)):
        if value < 1:
            raise ConfigError(f"{key}: {value} is not allowed; use 1 or more")


class Dense(BaseModel):
    """Frames at a fixed stride: a random stretch of the video for training, evenly spread stretches for testing.

    `window` picks where a training clip lies. "random_start" (AdaptFormer's run): start, start + stride, ... with the
    start uniform over every one for which the clip fits. "videomae": as VideoMAE's fine-tuning, see `train_indices`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["dense"] = "dense"
    stride_frames: int = Field(default=4, ge=1)
    window: Literal["random_start", "videomae"] = "random_start"

    def train_indices(self, num_video_frames: int, num_frames: int, rng: np.random.Generator) -> Indices:
        """Return (T,) indices of one training clip of `num_frames` frames.

        A video too short for "random_start" is read from frame 0, and its last frame at the stride is repeated.
        "videomae" stretches T points over a window of T * stride frames that ends before a random frame; a video no
        longer than the window gives n // stride points over its whole length, then its last frame.
        Raises DecodeError for an empty video.
        """
        _check(num_video_frames, num_frames)
        if self.window == "videomae":
            return self._videomae_window(num_video_frames, num_frames, rng)
        reach = (num_frames - 1) * self.stride_frames
        start = int(rng.integers(max(num_video_frames - reach, 1)))
        last_step = (num_video_frames - 1 - start) // self.stride_frames
        return start + np.minimum(np.arange(num_frames), last_step) * self.stride_frames

    def _videomae_window(self, num_video_frames: int, num_frames: int, rng: np.random.Generator) -> Indices:
        length = num_frames * self.stride_frames
        if num_video_frames > length:
            end = int(rng.integers(length, num_video_frames))
            points = np.linspace(end - length, end, num=num_frames)
            return np.clip(points, end - length, end - 1).astype(np.int64)
        num_points = num_video_frames // self.stride_frames
        points = np.full(num_frames, num_video_frames, dtype=np.float64)
        points[:num_points] = np.linspace(0, num_video_frames, num=num_points)
        return np.clip(points, 0, num_video_frames - 1).astype(np.int64)

    def test_indices(self, num_video_frames: int, num_frames: int, num_clips: int) -> Indices:
        """Return (V, T) indices of `num_clips` clips spread over the video; one clip is the centre.

        The video is listed at the stride; a list shorter than T repeats its last frame. Clip k of V starts at position
        int(k * (L - T) / (V - 1)) of the L listed frames (both references). Raises DecodeError for an empty video.
        """
        _check(num_video_frames, num_frames, num_clips)
        listed = np.arange(0, num_video_frames, self.stride_frames)
        spare = max(len(listed) - num_frames, 0)
        if num_clips == 1:
            starts = np.array([spare // 2])
        else:
            starts = (np.arange(num_clips) * (spare / (num_clips - 1))).astype(np.int64)
        positions = np.minimum(starts[:, None] + np.arange(num_frames), len(listed) - 1)
        return listed[positions]


class Segment(BaseModel):
    """One frame from each of T equal segments of the whole video (VideoMAE on Something-Something v2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["segment"] = "segment"

    def train_indices(self, num_video_frames: int, num_frames: int, rng: np.random.Generator) -> Indices:
        """Return (T,) indices: a random frame of each segment of n // T frames (the n % T last frames are never used).

        A video of fewer than T frames repeats its frames evenly, int(i * n / T), as its test clip does; VideoMAE's
        loader would show frame 0 T times. Raises DecodeError for an empty video.
        """
        _check(num_video_frames, num_frames)
        segment = num_video_frames // num_frames
        if segment == 0:
            return np.arange(num_frames) * num_video_frames // num_frames
        return np.arange(num_frames) * segment + rng.integers(segment, size=num_frames)

    def test_indices(self, num_video_frames: int, num_frames: int, num_clips: int) -> Indices:
        """Return (V, T) indices of 1 or 2 clips: with t = n / T, clip 0 is int(t * i) and clip 1 int(t / 2 + t * i).

        One clip is the second of these, the centre of every segment. Raises ConfigError for other numbers of clips and
        DecodeError for an empty video.
        """
        if num_clips not in (1, 2):
            raise ConfigError(
                f"num_clips: {num_clips} is not allowed with segment sampling; use 1 or 2, or dense sampling"
            )
        _check(num_video_frames, num_frames)
        tick = num_video_frames / num_frames
        first = tick * np.arange(num_frames)
        clips = [first, tick / 2 + first] if num_clips == 2 else [tick / 2 + first]
        return np.stack(clips).astype(np.int64)


Sampling = Annotated[Dense | Segment, Field(discriminator="name")]
