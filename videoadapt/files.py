"""Files written so that a crash, a kill or a full disk leaves either the old one or the new one, and records read back."""

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


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write plain Python values as indented JSON in UTF-8, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # names of files may hold bytes that are no UTF-8: JSON spells their surrogates as Python escapes them
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8", errors="backslashreplace"))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line, empty where there is none; a half-written last line is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


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
