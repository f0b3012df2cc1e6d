"""The display matrix of a picture as one of the eight ways to lay it: turned by quarters, then mirrored or not.

The matrix (a, b, c, d in 16.16 fixed point, ISO/IEC 14496-12, 6.2.2) takes the pixel (x, y) to (a x + c y, b x + d y). It is
read as the `ffmpeg` command does: within a degree of a quarter turn, whatever its scale, and not at all where it has no angle.
"""

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from videoadapt.errors import DecodeError
from videoadapt.video.decoders._chain import Chain

TOLERANCE_DEGREES = 1.0
# Kinds of side data beside which PyAV 18 lists none: LCEVC, a view's number, displays of a stereo video, EXIF.
UNKNOWN_TO_PYAV = range(28, 32)


class Orientation(NamedTuple):
    """How a stored picture is laid: `quarter_turns` counterclockwise, and then, where `mirrored`, left for right."""

    quarter_turns: int = 0
    mirrored: bool = False

    def upright(self, pictures: np.ndarray, axes: tuple[int, int]) -> np.ndarray:
        """Return stored pictures upright, as a view; `axes` are those of height and width."""
        turned = np.rot90(pictures, self.quarter_turns, axes)
        return np.flip(turned, axes[1]) if self.mirrored else turned


def orientation_of(path: Path, frame: VideoFrame) -> Orientation:
    """Read the display matrix of `frame`, a frame of `path`; the container's comes before one in the stream itself.

    `frame.rotation` does not do: it is the angle of the first axis, which a mirrored picture shares with a turned one.
    Raises DecodeError when the angle is no quarter turn.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    if not (math.hypot(a, c) and math.hypot(b, d)):
        return Orientation()
    degrees = -math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))
    quarters = round(degrees / 90)
    if abs(degrees - 90 * quarters) >= TOLERANCE_DEGREES:
        raise DecodeError(f"{path}: rotated by {degrees:.0f} degrees; allowed: multiples of 90")
    if quarters % 2:
        return Orientation(3 if b > 0 else 1, mirrored=(b > 0) == (c > 0))
    return Orientation(2 if d < 0 else 0, mirrored=(a < 0) != (d < 0))


def _display_matrix(frame: VideoFrame) -> bytes | None:
    found: list[Any]
    try:
        found = list(frame.side_data)
    except ValueError:
        without = Chain(*(("sidedata", f"mode=delete:type={number}") for number in UNKNOWN_TO_PYAV))
        found = list(without(frame).side_data)
    return next((bytes(item) for item in found if item.type is Type.DISPLAYMATRIX), None)
