"""Blur of a lens out of focus and of a camera that moves, as ImageNet-C defines them (Hendrycks and Dietterich 2019)."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from videoadapt.video.corruptions._kinds import Frames, kind, whole_levels

_HAIR = 1e-2  # so that 99.9999 of float32 is cut off to 100


@kind((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
def defocus_blur(frames_THWC: Frames, level: tuple[int, float], rng: np.random.Generator) -> Frames:
    """The mean over a disk of this radius in pixels, whose edge is smoothed by this deviation; borders are mirrored."""
    kernel = disk(*level)
    reach = len(kernel) // 2
    padded = np.pad(frames_THWC, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return whole_levels(_filtered(padded, kernel) + _HAIR)


@lru_cache
def disk(radius_px: int, deviation_px: float) -> NDArray[np.float32]:
    """The kernel: a disk in a square of 17 or 2 r + 1 pixels, then a Gaussian of 3 or 5, the square's border mirrored."""
    reach, around = (8, 1) if radius_px <= 8 else (radius_px, 2)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    sharp = (x**2 + y**2 <= radius_px**2).astype(np.float64)
    weights = np.exp(-(np.arange(-around, around + 1) ** 2) / (2 * deviation_px**2))
    smooth, weights = np.pad(sharp / sharp.sum(), around, mode="reflect"), weights / weights.sum()
    for axis in (0, 1):
        smooth = np.apply_along_axis(np.convolve, axis, smooth, weights, mode="valid")
    return smooth.astype(np.float32)


def _filtered(frames_THWC: Frames, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter with a symmetric kernel, inside the frame only: by Fourier transform, whose cost is no matter of the radius."""
    height, width = frames_THWC.shape[1:3]
    planes = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2).float()
    spectrum = torch.fft.rfft2(torch.from_numpy(kernel), s=(height, width))
    found = torch.fft.irfft2(torch.fft.rfft2(planes) * spectrum, s=(height, width))
    return found[..., len(kernel) - 1 :, len(kernel) - 1 :].permute(0, 2, 3, 1).numpy()


@kind((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
def motion_blur(frames_THWC: Frames, level: tuple[int, float], rng: np.random.Generator) -> Frames:
    """The picture drawn out along a line: (radius, deviation) in pixels of half a Gaussian, at -45 to 45 degrees, the same for
    the whole film; borders are repeated.
    """
    radius, deviation = level
    angle = math.radians(rng.uniform(-45, 45))
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    # of ceil(. - 0.5) and not round(.): halves go down
    down, right = ([-math.ceil(step * part - 0.5) for step in steps] for part in (math.sin(angle), math.cos(angle)))
    return whole_levels(_drawn_out(frames_THWC, down, right, weights / weights.sum()) + _HAIR)


def _drawn_out(
    frames_THWC: Frames, down: list[int], right: list[int], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The weighted sum of the frames shifted by so many pixels, up to a shift that leaves the frame."""
    _, height, width, _ = frames_THWC.shape
    reach = max(map(abs, (*down, *right)))
    padded = np.pad(frames_THWC, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge").astype(np.float32)
    total = np.zeros(frames_THWC.shape, dtype=np.float32)
    for dy, dx, weight in zip(down, right, weights.astype(np.float32), strict=True):
        if abs(dy) >= height or abs(dx) >= width:
            break
        top, left = reach - dy, reach - dx
        total += weight * padded[:, top : top + height, left : left + width]
    return total
