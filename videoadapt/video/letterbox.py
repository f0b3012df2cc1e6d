"""Whole frames in a crop of another shape: no pixel is cut off, and bars of one grey level fill the rest.

Shapes: T frames, C channels, H W pixels.
"""

import random
from dataclasses import dataclass

from torch import Tensor

from videoadapt.video.resizing import fitting_size, resize_to_fit

_SMALLEST = 0.66  # of the size that fits, as the smallest box of the crop "multi_scale" is


@dataclass(frozen=True)
class Letterbox:
    """Puts whole frames into crops; `level` is the bars' grey level, 0 to 255."""

    level: int = 0

    def centred(self, frames_TCHW: Tensor, sides: tuple[int, int]) -> Tensor:
        """The frames as large as they fit, in the middle of (T, C, *sides); an odd rest has its larger half below or right."""
        return self._put(resize_to_fit(frames_TCHW, *sides), sides, None)

    def place(self, height: int, width: int, sides: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
        """Where `centred` begins in frames made as large as they fit, top and left, 0 or less, and their size."""
        size = fitting_size(height, width, *sides)
        return -((sides[0] - size[0]) // 2), -((sides[1] - size[1]) // 2), size

    def anywhere(self, frames_TCHW: Tensor, sides: tuple[int, int], rng: random.Random) -> Tensor:
        """The frames at 0.66 to 1 of the size that fits, anywhere in (T, C, *sides)."""
        return self._put(resize_to_fit(frames_TCHW, *sides, rng.uniform(_SMALLEST, 1)), sides, rng)

    def _put(self, frames_TCHW: Tensor, sides: tuple[int, int], rng: random.Random | None) -> Tensor:
        height, width = frames_TCHW.shape[-2:]
        rests = sides[0] - height, sides[1] - width
        top, left = (rest // 2 if rng is None else rng.randint(0, rest) for rest in rests)
        filled = frames_TCHW.new_full((*frames_TCHW.shape[:2], *sides), self.level)
        filled[..., top : top + height, left : left + width] = frames_TCHW
        return filled
