"""RandAugment on whole uint8 clips: timm's operations with "increasing" magnitudes, drawn once for all frames.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (2020), in timm's variant
with probability and magnitude noise, which VideoMAE fine-tunes with. `operations` has the pixels.
Shapes: T frames, C channels, H W pixels; a level is magnitude / 10.
"""

import random
import re
from typing import NamedTuple

import torch
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.video.operations import OPERATIONS, Fill

GREY: Fill = (128, 128, 128)  # what VideoMAE's RandAugment shows outside of the frame: it passes no mean
_FORM = "rand-m7-n4-mstd0.5-inc1"
_WHOLE, _REAL = r"\d+", r"\d+(\.\d+)?"
_PARTS = {"m": _WHOLE, "n": _WHOLE, "p": _REAL, "mstd": _REAL, "inc": _WHOLE}
_MAX_MAGNITUDE = 10.0
_UNIFORM_ABOVE = 100  # timm: a deviation above 100 means a magnitude uniform in [0, m]


class Draw(NamedTuple):
    """One operation as drawn for a clip, with its argument in that operation's own unit."""

    name: str
    argument: float


class RandAugment:
    """Draw n operations with replacement, each skipped with probability 1 - p, and apply them to all frames alike."""

    def __init__(self, spec: str, *, fill: Fill = GREY):
        """`spec` is timm's, such as "rand-m7-n4-mstd0.5-inc1"; `fill` is the grey level (R, G, B) outside of the frame.

        m: magnitude 0-10 (10 unless given), n: operations per clip (2), p: probability of each (0.5), mstd: standard
        deviation of the magnitude (0; above 100: uniform from 0 to m), inc1: required, the increasing magnitudes.
        Raises ConfigError for anything else.
        """
        parts = _parse(spec)
        self.magnitude = parts.get("m", _MAX_MAGNITUDE)
        self.num_ops = int(parts.get("n", 2))
        self.probability = parts.get("p", 0.5)
        self.deviation = parts.get("mstd", 0.0)
        if self.magnitude > _MAX_MAGNITUDE or self.probability > 1 or parts.get("inc") != 1:
            raise ConfigError(f"'{spec}' is not allowed; use m 0-10, p 0-1 and inc1, such as '{_FORM}'")
        self.fill = fill

    def draw(self, rng: random.Random) -> list[Draw]:
        """Return the operations for one clip, in order, with their arguments."""
        names = rng.choices(list(OPERATIONS), k=self.num_ops)
        kept = [name for name in names if rng.random() < self.probability]
        return [Draw(name, OPERATIONS[name].argument(self._level(rng), rng.choice((-1, 1)))) for name in kept]

    def _level(self, rng: random.Random) -> float:
        if self.deviation > _UNIFORM_ABOVE:
            return rng.uniform(0, self.magnitude) / _MAX_MAGNITUDE
        magnitude = rng.gauss(self.magnitude, self.deviation)
        return min(max(magnitude, 0.0), _MAX_MAGNITUDE) / _MAX_MAGNITUDE

    def __call__(self, frames_TCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented uint8 frames (T, C, H, W); everything random comes from `generator`."""
        rng = random.Random(int(torch.randint(2**62, (), generator=generator)))
        for name, argument in self.draw(rng):
            frames_TCHW = OPERATIONS[name].apply(frames_TCHW.contiguous(), argument, self.fill)
        return frames_TCHW


def _parse(spec: str) -> dict[str, float]:
    name, *parts = spec.split("-")
    if name != "rand":
        raise ConfigError(f"'{spec}' is no RandAugment; write it as in '{_FORM}'")
    values: dict[str, float] = {}
    for part in parts:
        key = part.rstrip("0123456789.")
        value = part[len(key) :]
        if key not in _PARTS or key in values or not re.fullmatch(_PARTS[key], value):
            allowed = "one number each for m, n, p, mstd and inc"
            raise ConfigError(f"'{part}' in '{spec}' is not allowed; use {allowed}, as in '{_FORM}'")
        values[key] = float(value)
    return values
