"""Common corruptions of video at five strengths, on frames of one decode; each is a function in the file of its family.

Shapes: T frames, H W pixels.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from videoadapt.errors import ConfigError, did_you_mean
from videoadapt.video.corruptions import blur, coding, geometry, noise, picture, timing, weather
from videoadapt.video.corruptions._kinds import REGISTERED, Kind

_FAMILIES = (noise, blur, weather, picture, coding, timing, geometry)
KINDS = {kind.name: kind for family in _FAMILIES for kind in REGISTERED[family.__name__]}  # in the order of tables

__all__ = ["KINDS", "Kind", "chosen_kinds", "corrupt", "generator_of"]


def corrupt(
    frames_THWC: NDArray[np.uint8], kind: str, strength: int = 3, seed: int = 0, video: str = ""
) -> NDArray[np.uint8]:
    """Return consecutive RGB frames as this corruption leaves them, uint8 (T, H, W, 3); what was given is not changed.

    What is drawn depends on (seed, video, kind, strength) only: `video` is any name that tells films apart.
    Lengths in pixels are those of ImageNet-C (Hendrycks and Dietterich 2019, which cuts pictures to 224 x 224).
    Raises ConfigError for another kind or strength, and TypeError or ValueError for what are no such frames.
    """
    if not isinstance(frames_THWC, np.ndarray) or frames_THWC.dtype != np.uint8:
        raise TypeError(f"frames_THWC: needs to be a NumPy array of uint8, got {_said(frames_THWC)}")
    if frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3 or not frames_THWC.size:
        raise ValueError(f"frames_THWC: needs the shape (T, H, W, 3), at least one frame, got {frames_THWC.shape}")
    chosen = KINDS[chosen_kinds([kind])[0]]
    if strength not in range(1, len(chosen.levels) + 1):
        most = len(chosen.levels)
        allowed = f"1 to {most}" if most > 1 else "1, as it has no grades"
        raise ConfigError(f"strength = {strength!r}: {kind} allows {allowed}")
    rng = generator_of(seed, video, kind, strength)
    return np.ascontiguousarray(chosen.apply(frames_THWC, chosen.levels[strength - 1], rng))


def chosen_kinds(names: Sequence[str] | Literal["all"] | None) -> list[str]:
    """These kinds, or all, in the order of tables. Raises ConfigError for a name that is no kind's, and for no name."""
    if names == "all":
        return list(KINDS)
    if names is not None and not names:
        raise ConfigError(f"names no corruption; allowed: all, {', '.join(KINDS)}")
    for name in names or ():
        if name not in KINDS:
            raise ConfigError(f"{name!r}: no such corruption; {did_you_mean(name, KINDS)}")
    return [name for name in KINDS if name in (names or ())]


def generator_of(seed: int, video: str, kind: str, strength: int) -> np.random.Generator:
    """What is drawn from for this video, kind and strength."""
    drawn = hashlib.sha256(f"{seed}\0{kind}\0{strength}\0{video}".encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng(np.frombuffer(drawn, dtype="<u4"))


def _said(value: object) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
