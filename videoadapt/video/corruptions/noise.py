"""Noise of a camera's sensor, new in each frame, as ImageNet-C defines it (Hendrycks and Dietterich 2019)."""

import numpy as np

from videoadapt.video.corruptions._kinds import Frames, kind, whole_levels


@kind(0.08, 0.12, 0.18, 0.26, 0.38)
def gaussian_noise(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """Normal noise of this deviation, as a share of white."""
    return whole_levels(frames_THWC + 255 * rng.normal(size=frames_THWC.shape, scale=level))


@kind(60, 25, 12, 5, 3)
def shot_noise(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """As many photons as Poisson's law draws, where white is this many on average."""
    return whole_levels(rng.poisson(frames_THWC / 255.0 * level) * (255 / level))


@kind(0.03, 0.06, 0.09, 0.17, 0.27)
def impulse_noise(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """This share of all values becomes 0 or 255."""
    flipped, salted = rng.random(frames_THWC.shape) <= level, rng.random(frames_THWC.shape) <= 0.5
    return np.where(flipped, np.where(salted, np.uint8(255), np.uint8(0)), frames_THWC)
