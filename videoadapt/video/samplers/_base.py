"""What a sampler is: which frames of a video make a training clip, and which its test clips."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from videoadapt.errors import ConfigError, DecodeError
from videoadapt.video.times import Timed

Indices = NDArray[np.int64]
MOST_HZ = 1_000.0  # time stamps of Matroska tell no more apart


class Draws(Protocol):
    """Where a sampler's random choices come from: numpy's Generator, or what draws whole numbers as that does."""

    def integers(self, low: int, high: int | None = None, size: int | None = None) -> Any:
        """Whole numbers from `low` to `high` - 1, from 0 to `low` - 1 without `high`: one, or an array of `size`."""


class Sampler(ABC):
    """Index arithmetic on a video of n frames: no video is opened, and nothing of torch is needed.

    What a config may set are the keyword-only arguments of the constructor. Shapes: T frames of a clip, V test clips of a
    video. All indices are int64, sorted along T, and within [0, n).

    With `fps_hz` the frames that it counts are those of the film shown again at that rate, whatever its own, and for each
    the one that is on the screen at its moment is taken.
    """

    num_test_clips: tuple[int, ...] | None = None  # the numbers of test clips that it gives; None: any
    fps_hz: float | None = None  # None: the frames as they are stored; no time stamp is read
    counts_frames = True  # without `fps_hz`, whether another rate of a film gives clips of another duration

    @abstractmethod
    def train_indices(self, num_video_frames: int, num_frames: int, rng: Draws) -> Indices:
        """Return (T,) indices of one training clip of `num_frames` frames. Raises DecodeError for an empty video."""

    @abstractmethod
    def test_indices(self, num_video_frames: int, num_frames: int, num_clips: int) -> Indices:
        """Return (V, T) indices of `num_clips` test clips; nothing is drawn.

        Raises ConfigError for a number of clips that the sampler does not give, and DecodeError for an empty video.
        """

    def clip_span(self, num_frames: int) -> int | None:
        """How many frames of a video a clip of `num_frames` is taken from, at `fps_hz` or the video's own rate; None: all."""
        return None

    def train_clip(self, video: Timed, num_frames: int, rng: Draws) -> Indices:
        """As `train_indices`, of this video, by its time stamps where there is a rate."""
        if self.fps_hz is None:
            return self.train_indices(video.num_frames, num_frames, rng)
        times = video.times
        return times.shown_at(self.train_indices(times.num_frames_at(self.fps_hz), num_frames, rng), self.fps_hz)

    def test_clips(self, video: Timed, num_frames: int, num_clips: int) -> Indices:
        """As `test_indices`, of this video, by its time stamps where there is a rate."""
        if self.fps_hz is None:
            return self.test_indices(video.num_frames, num_frames, num_clips)
        times = video.times
        return times.shown_at(self.test_indices(times.num_frames_at(self.fps_hz), num_frames, num_clips), self.fps_hz)


def check_counts(num_video_frames: int, num_frames: int, num_clips: int = 1) -> None:
    """Raise DecodeError for an empty video, ConfigError for clips without frames or tests without clips."""
    if num_video_frames < 1:
        raise DecodeError(f"a video of {num_video_frames} frames has nothing to sample")
    for key, value in (("num_frames", num_frames), ("num_clips", num_clips)):
        if value < 1:
            raise ConfigError(f"{key}: {value} is not allowed; use 1 or more")
