"""How a film lies in a file of the cache: a header with its shape, its frames one after the other, a record of each.

A coding says what a header and a record are, and makes bytes of a frame and a frame of bytes. Shapes: N frames, H W pixels.
"""

import io
import math
import struct
from functools import lru_cache
from typing import Protocol

import numpy as np

from videoadapt.video.frames import from_jpeg, to_jpeg

HEADER_BYTES = 128
Shape = tuple[int, int, int]  # frames, height, width
# of a frame: of its bytes, whether the decoder found it damaged, and until when it is shown, 0 where that is not known
_FACTS = [("checksum", "<u4"), ("mark", "u1"), ("until_sec", "<f8")]


class Coding(Protocol):
    """What `write_film` and `KeptFrames` ask."""

    suffix: str
    record: np.dtype[np.void]

    def header(self, shape: Shape) -> bytes:
        """The HEADER_BYTES at a film's start."""

    def shape(self, header: bytes) -> Shape:
        """What `header` was made of. Raises ValueError for bytes that it did not make."""

    def most_bytes(self, height: int, width: int) -> int:
        """Bytes that a frame may take."""

    def pack(self, frame_HWC: np.ndarray) -> bytes | memoryview:
        """The bytes that stand for a frame."""

    def lengths(self, records_N: np.ndarray, shape: Shape) -> np.ndarray:
        """How many bytes stand for each frame: int64 (N,)."""

    def room(self, frame_HWC: np.ndarray, length: int) -> memoryview | bytearray:
        """Where the bytes of this frame are to be read into, before `unpack`."""

    def unpack(self, packed: memoryview | bytearray, frame_HWC: np.ndarray) -> None:
        """Make the frame of its bytes, which are in its `room`."""


class Raw:
    """Pixels as they are, so that the file is a .npy with records behind its array."""

    suffix = ".npy"
    record = np.dtype(_FACTS)

    def header(self, shape: Shape) -> bytes:
        """See Coding."""
        header = io.BytesIO()
        described = {"descr": "|u1", "fortran_order": False, "shape": (*shape, 3)}
        np.lib.format.write_array_header_1_0(header, described)
        return header.getvalue()

    def shape(self, header: bytes) -> Shape:
        """See Coding."""
        return _npy_shape(header)

    def most_bytes(self, height: int, width: int) -> int:
        """See Coding."""
        return height * width * 3

    def pack(self, frame_HWC: np.ndarray) -> memoryview:
        """See Coding."""
        return frame_HWC.data

    def lengths(self, records_N: np.ndarray, shape: Shape) -> np.ndarray:
        """See Coding."""
        return np.full(len(records_N), math.prod(shape[1:]) * 3, np.int64)

    def room(self, frame_HWC: np.ndarray, length: int) -> memoryview:
        """See Coding."""
        return frame_HWC.data

    def unpack(self, packed: memoryview | bytearray, frame_HWC: np.ndarray) -> None:
        """See Coding: the frame's own memory was read into."""


class Jpeg:
    """Each frame a JPEG file of one quality, whose length is in its record."""

    suffix = ".jpegs"
    record = np.dtype([*_FACTS, ("length", "<u4")])
    _magic = b"videoadapt frames in JPEG\n"
    _shape = struct.Struct("<3Q")
    _TABLES = 700  # bytes of a JPEG file that do not depend on its picture

    def __init__(self, quality: int):
        self._quality = quality

    def header(self, shape: Shape) -> bytes:
        """See Coding."""
        return (self._magic + self._shape.pack(*shape)).ljust(HEADER_BYTES, b"\0")

    def shape(self, header: bytes) -> Shape:
        """See Coding."""
        if len(header) != HEADER_BYTES or not header.startswith(self._magic):
            raise ValueError("its header is damaged")
        num_frames, height, width = self._shape.unpack_from(header, len(self._magic))
        return num_frames, height, width

    def most_bytes(self, height: int, width: int) -> int:
        """See Coding: noise of quality 100 takes more, and is not kept."""
        return self._TABLES + height * width * 3

    def pack(self, frame_HWC: np.ndarray) -> bytes:
        """See Coding."""
        return to_jpeg(frame_HWC, self._quality)

    def lengths(self, records_N: np.ndarray, shape: Shape) -> np.ndarray:
        """See Coding."""
        return records_N["length"].astype(np.int64)

    def room(self, frame_HWC: np.ndarray, length: int) -> bytearray:
        """See Coding."""
        return bytearray(length)

    def unpack(self, packed: memoryview | bytearray, frame_HWC: np.ndarray) -> None:
        """See Coding."""
        frame_HWC[:] = from_jpeg(packed)


@lru_cache
def _npy_shape(content: bytes) -> Shape:
    file = io.BytesIO(content)
    try:
        np.lib.format.read_magic(file)
        shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy evaluates the text, which may be anything
        raise ValueError(f"its header is damaged: {error}") from error
    if len(shape) != 4 or shape[3] != 3 or in_columns or dtype != np.uint8 or file.tell() != HEADER_BYTES:
        raise ValueError(f"it holds {dtype} {shape}, not frames")
    return shape[:3]
