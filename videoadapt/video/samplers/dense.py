"""Frames at a fixed stride."""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval

from videoadapt.errors import ConfigError
from videoadapt.registry import SAMPLERS
from videoadapt.video.samplers._base import MOST_HZ, Draws, Indices, Sampler, check_counts


@SAMPLERS.register
class Dense(Sampler):
    """Frames at a fixed stride: a random stretch of the video for training, evenly spread stretches for testing.

    `window` picks where a training clip lies. "random_start", our own: start, start + stride, ... with the start uniform over
    every one for which the clip fits. "adaptformer": nearly that, the loader of AdaptFormer's run and of VideoMAE's
    pre-training. "videomae": as VideoMAE's fine-tuning. `train_indices` says what each does.

    By time: `fps_hz`, at which every video is seen, whatever its own rate, `stride_frames` apart; or `stride_sec`, what
    `stride_frames` then take. The same frames at 12 a second and stride 4: fps_hz 12, or stride_sec 0.3333.
    """

    def __init__(
        self,
        *,
        stride_frames: Annotated[int, Ge(1)] = 4,
        window: Literal["random_start", "adaptformer", "videomae"] = "random_start",
        fps_hz: Annotated[float, Interval(gt=0, le=MOST_HZ)] | None = None,
        stride_sec: Annotated[float, Gt(0)] | None = None,
    ):
        if fps_hz is not None and stride_sec is not None:
            raise ConfigError(
                f"fps_hz = {fps_hz:g}: and stride_sec = {stride_sec:g} both say how long stride_frames = {stride_frames} are; "
                "set one of them to null"
            )
        self.fps_hz = fps_hz if stride_sec is None else stride_frames / stride_sec
        if self.fps_hz is not None and self.fps_hz > MOST_HZ:
            raise ConfigError(f"stride_sec = {stride_sec:g}: allowed: {stride_frames / MOST_HZ:g} or more")
        self.stride_frames = stride_frames
        self.window = window

    def clip_span(self, num_frames: int) -> int:
        """See Sampler."""
        return num_frames * self.stride_frames

    def train_indices(self, num_video_frames: int, num_frames: int, rng: Draws) -> Indices:
        """Return (T,) indices of one training clip of `num_frames` frames.

        A video too short for "random_start" is read from frame 0, and its last frame at the stride is repeated.
        "adaptformer" takes a clip for T * stride frames long, of which the last stride - 1 are not seen: starts end that much
        earlier, and a short video's steps end before its very last frame. "videomae" stretches T points over a window of
        T * stride frames that ends before a random frame; a video no longer than the window gives n // stride points over its
        whole length, then its last frame.
        Raises DecodeError for an empty video.
        """
        check_counts(num_video_frames, num_frames)
        if self.window == "videomae":
            return self._videomae_window(num_video_frames, num_frames, rng)
        if self.window == "adaptformer":
            return self._adaptformer_window(num_video_frames, num_frames, rng)
        reach = (num_frames - 1) * self.stride_frames
        start = int(rng.integers(max(num_video_frames - reach, 1)))
        last_step = (num_video_frames - 1 - start) // self.stride_frames
        return start + np.minimum(np.arange(num_frames), last_step) * self.stride_frames

    def _adaptformer_window(self, num_video_frames: int, num_frames: int, rng: Draws) -> Indices:
        start = int(rng.integers(max(num_video_frames - num_frames * self.stride_frames + 1, 1)))
        last_step = max(num_video_frames - 2 - start, 0) // self.stride_frames
        return start + np.minimum(np.arange(num_frames), last_step) * self.stride_frames

    def _videomae_window(self, num_video_frames: int, num_frames: int, rng: Draws) -> Indices:
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
        check_counts(num_video_frames, num_frames, num_clips)
        listed = np.arange(0, num_video_frames, self.stride_frames)
        spare = max(len(listed) - num_frames, 0)
        if num_clips == 1:
            starts = np.array([spare // 2])
        else:
            starts = (np.arange(num_clips) * (spare / (num_clips - 1))).astype(np.int64)
        positions = np.minimum(starts[:, None] + np.arange(num_frames), len(listed) - 1)
        return listed[positions]
