"""Frames resized as published models of images see them: bicubic with antialias, by Pillow, and cut from the middle.

Each axis is resized by itself, rows before columns, as every Pillow before 13 does in one call, with which models were trained.
Pillow 13 takes columns first where that is cheaper, for tall pictures: up to 22 grey levels of noise away
(findings/pillow_13_resizes_columns_first.sh).

Shapes: T frames, C channels, H W pixels.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from videoadapt.errors import ConfigError


@dataclass(frozen=True)
class Bicubic:
    """Before a crop is cut, the frame's short side becomes `short_px`.

    None: the crop's own, so that the frame just covers it. Of a crop that is no square it is the crop's short side that lies
    in a frame of `short_px`.
    """

    short_px: int | None = None

    def resized(self, frames_TCHW: Tensor, sides: tuple[int, int]) -> Tensor:
        """Frames, or boxes of them, as (T, C, *sides)."""
        if frames_TCHW.shape[-2:] == sides:
            return frames_TCHW
        frames_THWC = np.ascontiguousarray(frames_TCHW.permute(0, 2, 3, 1).numpy())
        return torch.from_numpy(np.stack([_resized(frame_HWC, sides) for frame_HWC in frames_THWC])).permute(0, 3, 1, 2)

    def centred(self, frames_TCHW: Tensor, sides: tuple[int, int]) -> Tensor:
        """The middle of the frames, as torchvision's Resize and CenterCrop cut it, half an odd rest rounded to even."""
        covering_TCHW = self._covering(frames_TCHW, sides)
        height, width = frames_TCHW.shape[-2:]
        top, left, _ = self.place(height, width, sides)
        return covering_TCHW[..., top : top + sides[0], left : left + sides[1]]

    def place(self, height: int, width: int, sides: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
        """Where `centred` begins in the frames once they are resized, top and left, and their size then."""
        size = self._covering_size(height, width, sides)
        return round((size[0] - sides[0]) / 2), round((size[1] - sides[1]) / 2), size

    def anywhere(self, frames_TCHW: Tensor, sides: tuple[int, int], rng: random.Random) -> Tensor:
        """The same size from anywhere in the frames."""
        covering_TCHW = self._covering(frames_TCHW, sides)
        rests = (frame - side for frame, side in zip(covering_TCHW.shape[-2:], sides, strict=True))
        top, left = (rng.randint(0, rest) for rest in rests)
        return covering_TCHW[..., top : top + sides[0], left : left + sides[1]]

    def _covering(self, frames_TCHW: Tensor, sides: tuple[int, int]) -> Tensor:
        height, width = frames_TCHW.shape[-2:]
        return self.resized(frames_TCHW, self._covering_size(height, width, sides))

    def _covering_size(self, height: int, width: int, sides: tuple[int, int]) -> tuple[int, int]:
        """Of the frames with their aspect, the longer rest rounded down."""
        share = 1.0 if self.short_px is None else self.short_px / min(sides)
        if share < 1:
            raise ConfigError(
                f"resize_px = {self.short_px}: allowed: {min(sides)} or more, the crop's short side, or null"
            )
        height_px, width_px = (round(side * share) for side in sides)
        if height * width_px <= width * height_px:
            return height_px, int(height_px * width / height)
        return int(width_px * height / width), width_px


def _resized(frame_HWC: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    height, width = sides
    narrow = Image.fromarray(frame_HWC).resize((width, frame_HWC.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(narrow.resize((width, height), Image.Resampling.BICUBIC))
