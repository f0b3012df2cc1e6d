"""Frames made smaller, or larger, with the pixels of cv2.resize: what the published code resizes with.

Shapes: C channels, T frames, H W pixels, X columns and channels as one axis.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def resize_to_cover(frames_TCHW: Tensor, height_px: int, width_px: int) -> Tensor:
    """Resize uint8 frames, aspect kept, so that one side is that of the crop and the other no shorter than its own.

    The longer rest is rounded down: of 256 x 340 pixels, 224 x 297 for a crop of 224 x 224. Bit for bit what cv2.resize does
    with INTER_LINEAR (as both references test): half-pixel centres, no antialias, weights in 1/2048. Frames that fit already
    come back as they are.
    """
    height, width = frames_TCHW.shape[-2:]
    new_height, new_width = covering_size(height, width, height_px, width_px)
    if (new_height, new_width) == (height, width):
        return frames_TCHW
    return _resize_like_cv2(frames_TCHW, new_height, new_width)


def covering_size(height: int, width: int, height_px: int, width_px: int) -> tuple[int, int]:
    """The size that frames of another size have after `resize_to_cover`."""
    if height * width_px <= width * height_px:
        return height_px, int(height_px * width / height)
    return int(width_px * height / width), width_px


def resize_to_fit(frames_TCHW: Tensor, height_px: int, width_px: int, share: float = 1.0) -> Tensor:
    """Resize uint8 frames, aspect kept, so that they just fit into the crop, or into this share of its sides.

    Sides are rounded to the nearest pixel, and are 1 at least. Pixels are those of `resize_to_cover`.
    """
    height, width = frames_TCHW.shape[-2:]
    new_height, new_width = fitting_size(height, width, height_px, width_px, share)
    if (new_height, new_width) == (height, width):
        return frames_TCHW
    return _resize_like_cv2(frames_TCHW, new_height, new_width)


def fitting_size(height: int, width: int, height_px: int, width_px: int, share: float = 1.0) -> tuple[int, int]:
    """The size that frames of another size have after `resize_to_fit`."""
    factor = share * min(height_px / height, width_px / width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _resize_like_cv2(frames_TCHW: Tensor, new_height: int, new_width: int) -> Tensor:
    num_frames, channels, height, width = frames_TCHW.shape
    # Channels last, and columns and channels as one axis, is how decoders deliver and what torch gathers fastest.
    rows_THX = frames_TCHW.permute(0, 2, 3, 1).reshape(num_frames, height, width * channels)
    left, right = (
        (rows_THX.gather(2, source.expand(num_frames, height, -1)).int(), weight)
        for source, weight in _cv2_taps(width, new_width, channels)
    )
    across = left[0].mul_(left[1]).addcmul_(*right)
    across >>= 4
    upper, lower = (
        across.index_select(1, source).mul_(weight[:, None]).bitwise_right_shift_(16)
        for source, weight in _cv2_taps(height, new_height, 1)
    )
    down = upper.add_(lower).add_(2)
    down >>= 2
    return down.to(torch.uint8).view(num_frames, new_height, new_width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)  # a film has one size, and its frames come one by one
def _cv2_taps(old: int, new: int, values: int) -> list[tuple[Tensor, Tensor]]:
    """The two source positions of every output position along one axis, each with its weight in 1/2048.

    int64 and int32 of length new * values, for `values` values at each position.
    """
    position = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(position)
    fraction = position - first
    first = first.astype(np.int64)
    taps = []
    for place, weight in ((first, 1 - fraction), (first + 1, fraction)):
        source = (np.clip(place, 0, old - 1)[:, None] * values + np.arange(values)).reshape(-1)
        in_2048ths = np.rint(weight * 2048).astype(np.int32).repeat(values)
        taps.append((torch.from_numpy(source), torch.from_numpy(in_2048ths)))
    return taps
