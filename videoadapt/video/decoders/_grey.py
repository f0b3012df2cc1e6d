"""Grey pictures of any depth, of depth and infrared cameras, as 8 bits: of two stated values one is black and one white.

Shapes: H W pixels.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from pydantic import AfterValidator

from videoadapt.errors import DecodeError

_GREY = re.compile(r"gray|ya(?=\d)")  # FFmpeg's names; ya with alpha, which is left out
GREY = "grey values, of which data.decoder.levels says the black and the white one"
_Value = Annotated[int, Interval(ge=0, le=65_535)]


def _ascending(levels: tuple[int, int]) -> tuple[int, int]:
    if levels[0] >= levels[1]:
        raise ValueError("the first value becomes black and the second white: it needs to be the larger one")
    return levels


Levels = Annotated[tuple[_Value, _Value], AfterValidator(_ascending)]


def grey_bits(pixel_format: str) -> int | None:
    """Bits of a grey value; None for pictures in colour."""
    return VideoFormat(pixel_format, 2, 2).components[0].bits if _GREY.match(pixel_format) else None


def check_levels(path: Path, kind: str, bits: int | None, levels: tuple[int, int] | None) -> None:
    """Raise DecodeError where `levels` are needed and not stated, or stated for what they cannot be of.

    `kind`: what the format of the pictures is called; `bits`: of a grey value, None in colour.
    """
    if levels is None:
        if bits is not None and bits > 8:
            raise DecodeError(
                f"{path}: has grey levels of {bits} bits ({kind}), and models see 8: say which values are black and white, "
                f"data.decoder.levels [LOW, HIGH] (all of them: [0, {2 ** min(bits, 16) - 1}])"
            )
    elif bits is None:
        raise DecodeError(f"{path}: is in colour ({kind}), and data.decoder.levels is for grey videos; set it to null")
    elif bits > 16:
        raise DecodeError(f"{path}: has grey levels of {bits} bits ({kind}); data.decoder.levels takes up to 16")
    elif levels[1] >= 2**bits:
        raise DecodeError(
            f"{path}: has grey levels of {bits} bits ({kind}); data.decoder.levels = {list(levels)} is above the highest, "
            f"{2**bits - 1}"
        )


def grey_plane(frame: VideoFrame) -> np.ndarray:
    """The values of a grey frame as they are stored: uint8 or uint16 (H, W), a view of the frame's memory."""
    wide, alpha = frame.format.components[0].bits > 8, len(frame.format.components) > 1
    dtype = np.dtype(np.uint8 if not wide else ">u2" if frame.format.name.endswith("be") else "<u2")
    plane: Any = frame.planes[0]
    step = 1 + alpha
    rows_HX = np.frombuffer(plane, dtype).reshape(frame.height, plane.line_size // dtype.itemsize)
    return rows_HX[:, : step * frame.width : step]


def to_8_bits(values_HW: np.ndarray, levels: tuple[int, int]) -> np.ndarray:
    """Grey values as uint8 RGB, (H, W, 3): the nearest of 256 levels from the low value to the high one, cut off beyond."""
    return np.repeat(_table(levels)[values_HW][..., None], 3, axis=2)


@lru_cache(maxsize=8)
def _table(levels: tuple[int, int]) -> np.ndarray:
    low, high = levels
    return np.rint(np.clip((np.arange(65_536) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
