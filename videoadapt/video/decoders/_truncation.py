"""Whether a file ends before its header says: avi and Matroska files that are cut off play as shorter videos, without an error.

mp4 needs no such check, because its index names every frame; MPEG streams announce no size, so that they cannot tell.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from videoadapt.video.files import open_bytes

UNKNOWN_SIZE = 0xFFFFFFFF  # of a recording that was never finished
SEGMENT = b"\x18\x53\x80\x67"


def missing_bytes(path: Path, format_name: str) -> int:
    """Bytes between the end of `path` and the end that its header announces for its pictures; 0 where none are missing."""
    find_end = {"avi": _end_of_movi, "matroska,webm": _end_of_segment}.get(format_name)
    if find_end is None:
        return 0
    with open_bytes(path) as file:
        end = find_end(file)
        return max(0, end - file.seek(0, 2))


def _end_of_movi(file: BinaryIO) -> int:
    """End of the first list of pictures (RIFF chunk `movi`); an index behind it may be missing without harm."""
    file.seek(12)
    while len(head := file.read(12)) == 12:
        size = struct.unpack("<I", head[4:8])[0]
        if head[:4] == b"LIST" and head[8:] == b"movi":
            return 0 if size == UNKNOWN_SIZE else file.tell() - 4 + size
        file.seek(size + size % 2 - 4, 1)
    return 0


def _end_of_segment(file: BinaryIO) -> int:
    """End of the segment, the element behind the EBML header that holds everything (RFC 8794, RFC 9559)."""
    file.seek(4)
    file.seek(_element_size(file) or 0, 1)
    if file.read(4) != SEGMENT:
        return 0
    size = _element_size(file)
    return 0 if size is None else file.tell() + size


def _element_size(file: BinaryIO) -> int | None:
    """Read a size of variable length; None for an unknown one, as live streams have."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big") & (1 << 7 * length) - 1
    return None if value == (1 << 7 * length) - 1 else value
