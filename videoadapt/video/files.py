"""What a video is on disk: a file, or a folder of pictures; when it is another one, and why it is none."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from videoadapt.paths import why_no_folder, why_unreadable


class State(NamedTuple):
    """Bytes and time of change: of a folder those of all files in it together, and the latest."""

    size: int
    mtime_ns: int


def state_of(path: Path) -> State | None:
    """What changes when a video does; None for one that cannot be looked at."""
    try:
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            return State(found.st_size, found.st_mtime_ns)
        inside = [found, *(entry.stat() for entry in os.scandir(path))]
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None
    return State(sum(file.st_size for file in inside[1:]), max(file.st_mtime_ns for file in inside))


def why_no_video(path: Path, folders: bool = False) -> str:
    """Say what keeps a path from being read as a video; "" when nothing does. `folders`: by a decoder of folders."""
    if folders:
        return why_no_folder(path)
    reason = why_unreadable(path)
    return f"{reason}, or set data.decoder.name frame_folder for one of frames" if os.path.isdir(path) else reason
