"""What a video is on disk: a file, a member of a tar or a folder of pictures; when it is another one, and why it is none."""

import io
import os
import stat
from pathlib import Path
from typing import NamedTuple

from videoadapt.errors import DataListError
from videoadapt.paths import why_no_folder, why_unreadable
from videoadapt.video.shards import Span, shard_of, span_of


class State(NamedTuple):
    """Bytes and time of change: of a folder those of all files in it together, and the latest; of a member its tar's time."""

    size: int
    mtime_ns: int


class Place(NamedTuple):
    """Two paths with one place are one video. Of a member `device` stands for its first byte in the tar, too."""

    device: int
    inode: int
    size: int


def state_of(path: Path) -> State | None:
    """What changes when a video does; None for one that cannot be looked at."""
    try:
        if (span := span_of(path)) is not None:
            return State(span.size, os.stat(span.file).st_mtime_ns)
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            return State(found.st_size, found.st_mtime_ns)
        inside = [found, *(entry.stat() for entry in os.scandir(path))]
    except (OSError, ValueError, DataListError):  # ValueError: a null byte in the name
        return None
    return State(sum(file.st_size for file in inside[1:]), max(file.st_mtime_ns for file in inside))


def place_of(path: str | Path, folders: bool = False) -> Place | None:
    """Where a regular file or a member of a tar lies, or a folder (of 0 bytes); None for what is not there."""
    try:
        if (span := span_of(path)) is not None:
            found = os.stat(span.file)
            return Place((found.st_dev + (span.start << 24)) % 2**64, found.st_ino, span.size)
        found = os.stat(path)
    except (OSError, ValueError, DataListError):  # ValueError: a null byte in the name
        return None
    if not (stat.S_ISDIR if folders else stat.S_ISREG)(found.st_mode):  # opening a pipe would wait for its other end
        return None
    return Place(found.st_dev, found.st_ino, 0 if folders else found.st_size)


def address_of(path: Path) -> str:
    """What FFmpeg opens. Raises OSError, DataListError."""
    span = span_of(path)
    # An absolute path, because FFmpeg takes "a:b.mp4" for a protocol.
    return os.path.abspath(path) if span is None else _subfile(span)


def _subfile(span: Span) -> str:
    return f"subfile,,start,{span.start},end,{span.start + span.size},,:{os.path.abspath(span.file)}"


def open_bytes(path: str | Path) -> io.BufferedReader:
    """The bytes of a file or of a member, to read. Raises OSError, DataListError."""
    span = span_of(path)
    return open(path, "rb") if span is None else io.BufferedReader(_Member(span))


class _Member(io.RawIOBase):
    """The bytes of a member, and no others."""

    def __init__(self, span: Span):
        self._file = open(span.file, "rb", buffering=0)  # noqa: SIM115 - closed with this
        self._start, self._size, self._at = span.start, span.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._start + min(self._at, self._size))
        content = self._file.read(min(len(buffer), max(0, self._size - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def why_no_video(path: Path, folders: bool = False) -> str:
    """Say what keeps a path from being read as a video; "" when nothing does. `folders`: by a decoder of folders."""
    if folders:
        return why_no_folder(path)
    if (found := shard_of(path)) is not None:
        try:
            span = span_of(path)
        except DataListError as error:
            return f"lies in a tar that cannot be read: {error}"
        except OSError as error:
            return str(error.strerror)
        return why_unreadable(found[0]) if span and span.size else "is empty (0 bytes); write the tar anew"
    reason = why_unreadable(path)
    return f"{reason}, or set data.decoder.name frame_folder for one of frames" if os.path.isdir(path) else reason
