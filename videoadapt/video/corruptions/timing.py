"""Frames at the wrong moment: the length of the film stays, and no pixel changes. The definitions are ours."""

import numpy as np

from videoadapt.video.corruptions._kinds import Frames, kind


@kind(2, 3, 4, 6, 8, in_time=True)
def frame_rate(frames_THWC: Frames, level: int, rng: np.random.Generator) -> Frames:
    """A camera of a rate this many times lower: every so many frames a new one, which stands until the next."""
    return frames_THWC[np.arange(len(frames_THWC)) // level * level]


@kind(0.1, 0.2, 0.3, 0.4, 0.5, in_time=True)
def dropped_frames(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """Each frame but the first is missing with this probability; later ones move up, and the last one stands at the end."""
    there = rng.random(len(frames_THWC)) >= level
    there[0] = True
    kept = np.flatnonzero(there)
    return frames_THWC[kept[np.minimum(np.arange(len(frames_THWC)), len(kept) - 1)]]


@kind(0.1, 0.2, 0.3, 0.4, 0.5, in_time=True)
def repeated_frames(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """The frame before is shown again with this probability; later ones wait, and the end is cut off."""
    forward = rng.random(len(frames_THWC)) >= level
    forward[0] = False
    return frames_THWC[np.cumsum(forward)]


@kind(None, in_time=True, keeps_label=False)
def reversed_time(frames_THWC: Frames, level: None, rng: np.random.Generator) -> Frames:
    """The film backwards."""
    return frames_THWC[::-1]


@kind(None, in_time=True, keeps_label=False)
def shuffled_time(frames_THWC: Frames, level: None, rng: np.random.Generator) -> Frames:
    """All frames in an order that is drawn."""
    return frames_THWC[rng.permutation(len(frames_THWC))]
