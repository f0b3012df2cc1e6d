"""JPEG files of pictures of one size joined to one file, without decoding any: a strip of pictures, one below another.

Each picture is a restart interval of the strip's scan (ITU T.81, B.2.4.4 and F.1.1.5.1): there a decoder starts anew, as it
did in the picture's own file, so pixels are the same. A GPU's decoder is twice as fast with few large files as with many small
ones.
"""

import struct
from collections.abc import Iterator, Sequence

_BLOCK_PX = 8  # rows and columns of the unit that 4:4:4 is compressed in
_TALLEST_PX = 8192
_MOST_UNITS = 0xFFFF  # of a restart interval
_END = b"\xff\xd9"
_SIZE_AND_SAMPLING = b"\xff\xc0"  # baseline
_SCAN = b"\xff\xda"
_INTERVAL = b"\xff\xdd"


def rows_apart(height: int) -> int:
    """How many rows below a picture's first row the next one's is."""
    return -(-height // _BLOCK_PX) * _BLOCK_PX


def most_pictures(height: int, width: int) -> int:
    """How many pictures of that size one strip may hold: 1 where a picture is too large for an interval."""
    if _units(height, width) > _MOST_UNITS:
        return 1
    return max(1, _TALLEST_PX // rows_apart(height))


def strip_of(files: Sequence[bytes]) -> bytes:
    """Return the strip of at most `most_pictures` baseline 4:4:4 files, whose pictures are `rows_apart` from one another.

    Rows between two pictures, where their height is no multiple of 8, mean nothing. Raises ValueError for files of different
    sizes or tables, for other kinds of JPEG, and for what is none.
    """
    head = bytearray(files[0][: _scan_begins(files[0])])
    if not all(file.startswith(head) and file.endswith(_END) for file in files):
        raise ValueError("JPEG files of different sizes or tables cannot be joined")
    if len(files) == 1:
        return files[0]
    scan_header = 0
    for marker, start in _segments(head):
        if marker == _SIZE_AND_SAMPLING:
            height, width, components = struct.unpack_from(">xHHB", head, start + 4)
            if any(head[start + 11 + 3 * component] != 0x11 for component in range(components)):
                raise ValueError("JPEG files with halved colours cannot be joined")
            struct.pack_into(">H", head, start + 5, rows_apart(height) * (len(files) - 1) + height)
        elif marker == _INTERVAL or b"\xff\xc1" <= marker <= b"\xff\xc3":
            raise ValueError("JPEG files that are not baseline, or have restart intervals, cannot be joined")
        elif marker == _SCAN:
            scan_header = start
    interval = _INTERVAL + struct.pack(">HH", 4, _units(height, width))
    scans = [file[len(head) : -len(_END)] for file in files]
    restarts = [bytes((0xFF, 0xD0 + number % 8)) for number in range(len(files) - 1)]
    joined = [part for pair in zip(scans, [*restarts, _END], strict=True) for part in pair]
    return b"".join((head[:scan_header], interval, head[scan_header:], *joined))


def _units(height: int, width: int) -> int:
    return rows_apart(height) // _BLOCK_PX * -(-width // _BLOCK_PX)


def _segments(content: bytes | bytearray) -> Iterator[tuple[bytes, int]]:
    """Each segment's marker, and where it stands, up to the header of the scan."""
    at, marker = 2, b""
    while marker != _SCAN:
        marker = bytes(content[at : at + 2])
        if marker[:1] != b"\xff" or len(content) < at + 4:
            raise ValueError("no JPEG file")
        yield marker, at
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]


def _scan_begins(file: bytes) -> int:
    *_, (_, start) = _segments(file)
    return int(start + 2 + struct.unpack_from(">H", file, start + 2)[0])
