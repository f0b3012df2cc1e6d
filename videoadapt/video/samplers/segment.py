"""One frame from each of T equal segments of a video."""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from videoadapt.errors import ConfigError
from videoadapt.registry import SAMPLERS
from videoadapt.video.samplers._base import MOST_HZ, Draws, Indices, Sampler, check_counts


@SAMPLERS.register
class Segment(Sampler):
    """One frame from each of T equal segments of the whole video (VideoMAE on Something-Something v2).

    `short` is what a training clip shows of a video of fewer than T frames: "spread", all of it evenly, or as VideoMAE's loader
    "first_frame", that one T times. Segments are of equally many frames; where the rate of a video varies, `fps_hz`, as high as
    the highest rate, makes them equally long.
    """

    num_test_clips = (1, 2)
    counts_frames = False

    def __init__(
        self,
        *,
        short: Literal["spread", "first_frame"] = "spread",
        fps_hz: Annotated[float, Interval(gt=0, le=MOST_HZ)] | None = None,
    ):
        self.short = short
        self.fps_hz = fps_hz

    def train_indices(self, num_video_frames: int, num_frames: int, rng: Draws) -> Indices:
        """Return (T,) indices: a random frame of each segment of n // T frames (the n % T last frames are never used).

        A video of fewer than T frames repeats its frames evenly, int(i * n / T), as its test clip does, or shows the first
        one alone. Raises DecodeError for an empty video.
        """
        check_counts(num_video_frames, num_frames)
        segment = num_video_frames // num_frames
        if segment == 0 and self.short == "first_frame":
            return np.zeros(num_frames, dtype=np.int64)
        if segment == 0:
            return np.arange(num_frames) * num_video_frames // num_frames
        return np.arange(num_frames) * segment + rng.integers(segment, size=num_frames)

    def test_indices(self, num_video_frames: int, num_frames: int, num_clips: int) -> Indices:
        """Return (V, T) indices of 1 or 2 clips: with t = n / T, clip 0 is int(t * i) and clip 1 int(t / 2 + t * i).

        One clip is the second of these, the centre of every segment. Raises ConfigError for other numbers of clips and
        DecodeError for an empty video.
        """
        if num_clips not in self.num_test_clips:
            raise ConfigError(
                f"num_clips: {num_clips} is not allowed with segment sampling; use 1 or 2, or dense sampling"
            )
        check_counts(num_video_frames, num_frames)
        tick = num_video_frames / num_frames
        first = tick * np.arange(num_frames)
        clips = [first, tick / 2 + first] if num_clips == 2 else [tick / 2 + first]
        return np.stack(clips).astype(np.int64)
