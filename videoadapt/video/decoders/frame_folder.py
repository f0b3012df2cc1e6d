"""A folder of pictures as a video: JPEG, PNG or WebP files whose names differ in a number.

Pillow reads them: its pixels are those of libjpeg-turbo, as in OpenCV, so those that models of such folders were trained with.
A picture is laid upright as its EXIF says; grey, CMYK, a palette and transparency become RGB. A JPEG file that ends early
is read as libjpeg fills it in, and counts as damaged; any other damage is an error with the file's name.
"""

import io
from collections.abc import Set
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from PIL import Image, ImageOps
from pydantic import AfterValidator

from videoadapt.errors import DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders._base import Decoder
from videoadapt.video.decoders._grey import Levels, check_levels, to_8_bits
from videoadapt.video.decoders._numbered import find_frames, parts_of
from videoadapt.video.decoders._orientation import Orientation
from videoadapt.video.decoders._stream import StreamInfo
from videoadapt.video.files import why_no_video
from videoadapt.video.times import Times

_FORMATS = ("JPEG", "PNG", "WEBP")
# of a grey value in Pillow's modes; PNG has 16 at most, of whatever mode
_BITS = {"L": 8, "LA": 8, "I": 16, "I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16, "F": 32}
_END_OF_JPEG = b"\xff\xd9"
_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


def _checked(template: str) -> str:
    parts_of(template)
    return template


@DECODERS.register
class FrameFolder(Decoder):
    """The frames of a folder, in the order of their numbers, `fps_hz` of them a second; None: counted only, not timed.

    `template`: which files are frames, img_{:05d}.jpg; None: all pictures, which then have one name but for the number.
    `first`: the first frame's number; None: 0 or 1, whichever is there. `levels`: of grey pictures, the values that become
    black and white. Raises DecodeError naming the folder or the file.
    """

    reads_folders = True

    def __init__(
        self,
        path: Path,
        /,
        *,
        template: Annotated[str, AfterValidator(_checked)] | None = None,
        fps_hz: Annotated[float, Gt(0)] | None = None,
        first: Annotated[int, Ge(0)] | None = None,
        levels: Levels | None = None,
    ):
        if reason := why_no_video(path, folders=True):
            raise DecodeError(f"{path}: {reason}")
        self._files = find_frames(path, template, first)
        self._damaged: set[int] = set()
        self._levels = levels
        super().__init__(path, _described(path / self._files.name(0), self._files.num_frames))
        self.fps_hz = fps_hz

    @property
    def num_frames(self) -> int:
        """Number of files, all of which `get` delivers or raises."""
        return self._files.num_frames

    @property
    def damaged(self) -> Set[int] | None:
        """Frames whose file ends early."""
        return self._damaged

    def _find_times(self) -> Times | None:
        if self.fps_hz is None:
            raise DecodeError(f"{self.path}: files do not say when they are shown; set data.decoder.fps_hz")
        return Times.evenly(self.num_frames, self.fps_hz)

    def _read(self, wanted: list[int]) -> np.ndarray:
        frames_NHWC = np.empty((len(wanted), self.height, self.width, 3), np.uint8)
        for place, index in enumerate(wanted):
            file = self.path / self._files.name(index)
            frame_HWC, whole = _upright(file, self._levels)
            height, width = frame_HWC.shape[:2]
            if (height, width) != (self.height, self.width):
                raise DecodeError(
                    f"{file}: is {width} x {height} pixels, and {self._files.name(0)} {self.width} x "
                    f"{self.height}; frames of a folder have one size"
                )
            frames_NHWC[place] = frame_HWC
            if not whole:
                self._damaged.add(index)
        return frames_NHWC

    def close(self) -> None:
        """Nothing is open."""


def _upright(file: Path, levels: tuple[int, int] | None) -> tuple[np.ndarray, bool]:
    """The picture in a file, uint8 (H, W, 3) RGB, and whether all of it is there. Raises DecodeError."""
    try:
        content = file.read_bytes()
        picture, whole = _decoded(content)
        check_levels(file, picture.mode, _BITS.get(picture.mode), levels)
        upright = ImageOps.exif_transpose(picture)
        if levels is None:
            return np.asarray(upright.convert("RGB")), whole
        values_HW = np.asarray(upright.getchannel("L") if upright.mode == "LA" else upright)
        return to_8_bits(values_HW.clip(0, 65_535), levels), whole
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DecodeError(f"{file}: {_why(error)}; extract the frames again") from error


def _decoded(content: bytes) -> tuple[Image.Image, bool]:
    picture = Image.open(io.BytesIO(content), formats=_FORMATS)
    if picture.format != "JPEG" and getattr(picture, "is_animated", False):
        raise ValueError("is an animation and no single picture")
    try:
        picture.load()
    except OSError:
        if picture.format not in ("JPEG", "MPO"):
            raise
        picture = Image.open(io.BytesIO(content + _END_OF_JPEG), formats=_FORMATS)
        picture.load()
        return picture, False
    return picture, True


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.UnidentifiedImageError):
        return f"is no picture in {', '.join(_FORMATS)}"
    return f"cannot be read: {error}" if isinstance(error, OSError) else str(error)


def _described(file: Path, num_frames: int) -> StreamInfo:
    """What a decoder knows of a video, by the header of its first picture; sizes are upright ones."""
    try:
        with Image.open(file, formats=_FORMATS) as picture:
            turned = picture.getexif().get(_EXIF_ORIENTATION) in _TURNED
            width, height = picture.size[::-1] if turned else picture.size
            kind, mode = str(picture.format).lower(), picture.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DecodeError(f"{file}: {_why(error)}; extract the frames again") from error
    return StreamInfo(
        stream_index=0,
        num_video_streams=1,
        codec=kind,
        pixel_format=mode,
        height=height,
        width=width,
        orientation=Orientation(),
        pixel_aspect=Fraction(1),
        matrix=0,
        fps_hz=0.0,
        time_base=Fraction(1),
        pts=(),
        keys=(),
        num_frames=num_frames,
        in_order_because="",
        one_size=True,
        one_colour=True,
    )
