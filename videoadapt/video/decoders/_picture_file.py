"""The file of one picture as pixels, by Pillow: upright as its EXIF says, RGB in 8 bits.

Its pixels are those of libjpeg-turbo, as in OpenCV, so those that published models of pictures were trained with. Grey, CMYK, a
palette and 16-bit colour (its upper 8 bits) become RGB; transparency and a colour profile are left out. A JPEG file that ends
early is read as libjpeg fills it in, and counts as damaged; any other damage is an error with the file's name.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from videoadapt.errors import DecodeError
from videoadapt.video.decoders._grey import check_levels, to_8_bits
from videoadapt.video.decoders._orientation import Orientation
from videoadapt.video.decoders._stream import StreamInfo

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
# of a grey value in Pillow's modes; PNG has 16 at most, of whatever mode
_BITS = {"L": 8, "LA": 8, "I": 16, "I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16, "F": 32}
_END_OF_JPEG = b"\xff\xd9"
_ONE_OF_SEVERAL = ("JPEG", "MPO")  # phones put a smaller or a depth picture behind the first one
_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


def upright(file: Path, content: bytes | None, levels: tuple[int, int] | None, cure: str) -> tuple[np.ndarray, bool]:
    """The picture in a file, uint8 (H, W, 3) RGB, and whether all of it is there.

    `content` of the file; None: it is read. `levels`: of grey pictures, the values that become black and white.
    Raises DecodeError, which ends in the `cure`.
    """
    with _errors(file, cure):
        picture, whole = _decoded(file.read_bytes() if content is None else content)
        check_levels(file, picture.mode, _BITS.get(picture.mode), levels)
        turned = ImageOps.exif_transpose(picture)
        turned.info.pop("transparency", None)  # of a palette's colours: Pillow warns that RGB has none
        if levels is None:
            return np.asarray(turned.convert("RGB")), whole
        values_HW = np.asarray(turned.getchannel("L") if turned.mode == "LA" else turned)
        return to_8_bits(values_HW.clip(0, 65_535), levels), whole


def described(file: Path, content: bytes | None, num_frames: int, cure: str) -> StreamInfo:
    """What a decoder knows of a video of pictures, by the header of the first; sizes are upright ones.

    `content` of the file; None: the header is read. Raises DecodeError.
    """
    source = file if content is None else io.BytesIO(content)
    with _errors(file, cure), Image.open(source, formats=FORMATS) as picture:
        turned = picture.getexif().get(_EXIF_ORIENTATION) in _TURNED
        width, height = picture.size[::-1] if turned else picture.size
        kind, mode = str(picture.format).lower(), picture.mode
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


def _decoded(content: bytes) -> tuple[Image.Image, bool]:
    picture: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
    if picture.format not in _ONE_OF_SEVERAL and getattr(picture, "is_animated", False):
        raise ValueError("is an animation and no single picture")
    try:
        picture.load()
    except OSError:
        if picture.format not in _ONE_OF_SEVERAL:
            raise
        picture = Image.open(io.BytesIO(content + _END_OF_JPEG), formats=FORMATS)
        picture.load()
        return picture, False
    return picture, True


@contextmanager
def _errors(file: Path, cure: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DecodeError(f"{file}: {_why(error)}; {cure}") from error


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.UnidentifiedImageError):
        return f"is no picture in {', '.join(FORMATS)}"
    return f"cannot be read: {error}" if isinstance(error, OSError) else str(error)
