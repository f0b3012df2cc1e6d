"""Fog as ImageNet-C defines it (Hendrycks and Dietterich 2019)."""

import numpy as np
from numpy.typing import NDArray

from videoadapt.video.corruptions._kinds import Frames, kind, whole_levels


@kind((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
def fog(frames_THWC: Frames, level: tuple[float, float], rng: np.random.Generator) -> Frames:
    """White clouds of this density, (density, decay): the same clouds before all frames, each as bright as it was."""
    density, decay = level
    _, height, width, _ = frames_THWC.shape
    clouds = plasma(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width, None]
    brightest = frames_THWC.max(axis=(1, 2, 3), keepdims=True) / np.float32(255)
    cloudy = frames_THWC + (255 * density * clouds).astype(np.float32)
    return whole_levels(cloudy * (brightest / (brightest + density)))


def plasma(side_px: int, decay: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Heights from 0 to 1 by the diamond-square algorithm on a torus, whose side is a power of two; what is drawn falls by
    `decay` squared from one scale to the next.
    """
    heights, wibble, step = np.zeros((side_px, side_px)), 100.0, side_px

    def drawn(total: NDArray[np.float64]) -> NDArray[np.float64]:
        return total / 4 + wibble * rng.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        middles = heights[half::step, half::step] = drawn(pairs + np.roll(pairs, -1, axis=1))
        across = middles + np.roll(middles, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = drawn(across)
        down = middles + np.roll(middles, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = drawn(down)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / max(heights.max(), np.finfo(float).tiny)
