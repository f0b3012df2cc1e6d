"""What all samplers share."""

import numpy as np
from numpy.typing import NDArray

from videoadapt.errors import ConfigError, DecodeError

Indices = NDArray[np.int64]


def _check(num_video_frames: int, num_frames: int, num_clips: int = 1) -> None:
    if num_video_frames < 1:
        raise DecodeError(f"a video of {num_video_frames} frames has nothing to sample")
    for key, value in (("num_frames", num_frames), ("num_clips", num_clips)):
        if value < 1:
            raise ConfigError(f"{key}: {value} is not allowed; use 1 or more")
