"""Light and resolution of the picture, as ImageNet-C defines them (Hendrycks and Dietterich 2019); nothing is drawn."""

import numpy as np
from PIL import Image

from videoadapt.video.corruptions._kinds import Frames, kind, whole_levels


@kind(0.1, 0.2, 0.3, 0.4, 0.5)
def brightness(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """The value of HSV raised by this share of white, hue and saturation kept."""
    value = frames_THWC.max(axis=3, keepdims=True).astype(np.float32)
    raised = np.minimum(value + np.float32(255 * level), 255)
    # of black there is no hue: it becomes grey
    colours = np.where(value > 0, frames_THWC * (raised / np.maximum(value, 1)), raised)
    return whole_levels(colours + np.float32(1e-3))


@kind(0.4, 0.3, 0.2, 0.1, 0.05)
def contrast(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """This share of what each value differs from the mean of its frame and channel."""
    means = frames_THWC.mean(axis=(1, 2), keepdims=True)
    return whole_levels(np.float32(level) * frames_THWC + ((1 - level) * means + 1e-3).astype(np.float32))


@kind(0.6, 0.5, 0.4, 0.3, 0.25)
def pixelate(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """Made smaller by this factor, each pixel the mean of an area, and large again, each pixel the nearest."""
    _, height, width, _ = frames_THWC.shape
    small = max(1, int(width * level)), max(1, int(height * level))
    pictures = (Image.fromarray(frame_HWC).resize(small, Image.Resampling.BOX) for frame_HWC in frames_THWC)
    return np.stack([np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)) for picture in pictures])
