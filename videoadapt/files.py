"""Files written so that a crash, a kill or a full disk leaves either the old one or the new one, and records read back."""

import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from videoadapt.errors import VideoAdaptError, why_not_read
from videoadapt.paths import check_regular
from videoadapt.system import NO_LINK, NO_WAITING, READ_BYTES, WINDOWS, WRITE_BYTES, lock
from videoadapt.terminal import Output, visible

PARTIAL = ".partial"  # suffix of a file that is being written, or that a killed process left behind
_FILLING = ".filling"  # of a folder; a file beside it with the other suffix says whether its writer lives


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place, both safe on the disk at return.

    What killed processes left half-written of `path` is removed. Raises OSError, with the file's name, when the disk is full
    or the file cannot be made, with the old file as it was and no temporary one left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, path.name)
    with partial_of(path) as partial:
        write(partial)
        with partial.open("r+b") as file:  # Windows syncs no file that cannot be written
            os.fsync(file.fileno())
        partial.replace(path)
    with _named(path, path.parent):
        _sync_folder(path.parent)


@contextmanager
def open_text(path: Path, mode: Literal["w", "a"], newline: str | None = None) -> Iterator[TextIO]:
    """A file of UTF-8 for what comes line by line, whose OSErrors name it: those of an open file name none."""
    file = path.open(mode, encoding="utf-8", errors="backslashreplace", newline=newline)
    lines = Output(file, str(path), lost=False)
    try:
        yield cast("TextIO", lines)
        lines.flush()
    finally:
        with suppress(OSError):  # of what could not be written before
            file.close()


@contextmanager
def partial_of(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` during the block; a lock on it says that its writer lives, and ends with the process.

    An OSError of the block that names the temporary file, or none, as one of an open file, names `path` instead.
    """
    while True:
        partial = _unused_beside(path)
        with _named(path, partial):
            handle = os.open(partial, WRITE_BYTES | os.O_EXCL, 0o666)
        if WINDOWS:
            os.close(handle)
            break
        if _is_ours(handle) and partial.exists():
            break
        os.close(handle)  # `remove_abandoned` of another writer came between the making and the lock
    try:
        with _named(path, partial):
            yield partial
    finally:
        partial.unlink(missing_ok=True)
        if not WINDOWS:
            os.close(handle)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock file `path` during the block, while others wait for it: between reading a file and writing it again.

    On Windows, and where a file system has no locks, nobody waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, WRITE_BYTES, 0o666)
    try:
        try:
            lock(handle, wait=True)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK):
                raise
        yield
    finally:
        os.close(handle)


def make_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` fill a folder beside `folder`, which gets its name once it is whole; where another was faster, that stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent, folder.name)
    with partial_of(folder) as claim:
        partial = claim.with_suffix(_FILLING)
        partial.mkdir()
        try:
            with _named(folder, partial):
                fill(partial)
            try:
                partial.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Delete the temporary files in `folder` (of the file or folder `name`, None: of all) whose writers are dead.

    A living writer holds a lock on its own. Where a file system has no locks, nothing is deleted; on Windows neither.
    """
    if WINDOWS:
        return
    for left in folder.glob(f"{'.*.' if name is None else glob.escape(_begin(name))}*{PARTIAL}"):
        try:
            handle = os.open(left, READ_BYTES | NO_LINK | NO_WAITING)
        except OSError:  # gone, or another user's
            continue
        try:
            if _is_abandoned(handle):
                shutil.rmtree(left.with_suffix(_FILLING), ignore_errors=True)
                left.unlink(missing_ok=True)
        except OSError:  # another user's folder
            pass
        finally:
            os.close(handle)


@contextmanager
def _named(path: Path, partial: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None and (
            error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(partial)
        ):
            raise OSError(error.errno, error.strerror, str(path)) from error  # PyAV's own takes no other name
        raise


def _unused_beside(path: Path) -> Path:
    """A name beside `path`, used by nobody else, for what will get the name `path` once it is whole."""
    # processes of two containers may have one number
    return path.with_name(f"{_begin(path.name)}{os.getpid()}{secrets.token_hex(4)}{PARTIAL}")


def _is_ours(handle: int) -> bool:
    """Lock a file against `remove_abandoned`; False where that holds it. Where there are no locks, it removes nothing."""
    try:
        lock(handle)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_abandoned(handle: int) -> bool:
    """Lock a file; False where its writer holds it, or where there are no locks to tell."""
    try:
        lock(handle)
    except OSError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write plain Python values as indented JSON in UTF-8, atomically; what a terminal would obey is escaped."""
    text = visible(json.dumps(value, indent=2, ensure_ascii=False)) + "\n"
    # names of files may hold bytes that are no UTF-8: JSON spells their surrogates as Python escapes them
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8", errors="backslashreplace"))


def read_jsonl(path: Path, *keys: str) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line, empty where there is none; a half-written last line is left out.

    Raises VideoAdaptError that names the first line which is no object, or has not all of `keys`.
    """
    if not os.path.exists(path):
        return []
    check_regular(path)
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise VideoAdaptError(f"{path}: cannot be read: {why_not_read(error)}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        record = as_record(line, *keys)
        if record is None:
            raise VideoAdaptError(f"{path}: line {number} is damaged ({line[:40]!r}); delete that line")
        found.append(record)
    return found


def drop_half_line(path: Path) -> None:
    """Cut off what a full disk, or a kill, left of a last line: the next one would go on in it, and both be lost."""
    if path.exists():
        check_regular(path)
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def as_record(line: bytes | str, *keys: str) -> dict[str, Any] | None:
    """The JSON object in a line, None where it holds none, or not all of `keys`."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and all(key in record for key in keys) else None


def remove_partial(path: Path) -> int:
    """Delete what killed processes left half-written of `path`; only for the one who decides that nobody writes it.

    Returns how many files that were.
    """
    left = list(path.parent.glob(f"{glob.escape(_begin(path.name))}*{PARTIAL}"))
    for partial in left:
        partial.unlink(missing_ok=True)
    return len(left)


def _begin(name: str) -> str:
    """What the names of a file's temporary ones begin with: they are longer, and file systems take 255 bytes."""
    encoded = os.fsencode(name)
    return f".{name if len(encoded) <= 200 else hashlib.sha256(encoded).hexdigest()}."


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut."""
    if WINDOWS:  # which opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network and FUSE file systems cannot sync a folder
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
