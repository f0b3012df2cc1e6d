"""Writing a file so that a crash, a kill or a full disk leaves either the old file or the new one."""

import errno
import glob
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARTIAL = ".partial"  # suffix of a file that is being written, or that a killed process left behind


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place, both safe on the disk at return.

    Raises OSError when the disk is full, with the old file as it was and no temporary one left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # processes of two containers may have one number
    partial = path.with_name(f".{path.name}.{os.getpid()}{secrets.token_hex(4)}{PARTIAL}")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def remove_partial(path: Path) -> int:
    """Delete what killed processes left half-written of `path`; only for the one who decides that nobody writes it.

    Returns how many files that were.
    """
    left = list(path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"))
    for partial in left:
        partial.unlink(missing_ok=True)
    return len(left)


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network and FUSE file systems cannot sync a folder
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a jsonl file; a last line that a killed process left half-written is dropped."""
    records: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                records.append(json.loads(line))
    return records
