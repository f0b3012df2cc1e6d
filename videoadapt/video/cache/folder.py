"""The place where decoded frames are kept, shared by all processes that use it at the same time.

A place is in memory or a folder. Who uses it holds a lock on its file `.users`; `.bytes` counts what is in it.

Memory is where every user of a machine may write: the place there has to be this user's own, closed to others. No link is
followed inside of any place: whoever may write there could have another file overwritten through one.
"""

import atexit
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from videoadapt.errors import ConfigError
from videoadapt.files import PARTIAL
from videoadapt.paths import why_foreign
from videoadapt.system import HAS_SHARED, NO_LINK, NO_WAITING, lock, lock_byte, user_number

MEMORY = Path("/dev/shm") / f"videoadapt-{user_number()}"
_LEFT_FREE = 0.1  # of the disk: others need it, too
_OWN = re.compile(rf"[0-9a-f]{{64}}\.(npy|jpegs)|\.[0-9a-f]{{64}}\.(npy|jpegs)\..*{re.escape(PARTIAL)}")
_joined: dict[Path, int] = {}  # places that this process uses, with the file that says so


def cache_folder(cache: str) -> Path | None:
    """The folder that `data.cache` stands for; None without a cache."""
    if cache == "off":
        return None
    return MEMORY if cache == "ram" else Path(cache).absolute()


def why_not_here() -> str:
    """Say why no place can be shared on this system; "" where it can."""
    return (
        ""
        if HAS_SHARED
        else "this system has no locks that processes share, as Linux and macOS have; set data.cache off"
    )


def join(cache: str) -> Path | None:
    """Use the folder that `data.cache` stands for until this process ends; return it, None without a cache.

    The first process to use an idle cache removes partial files and recounts its size. Raises ConfigError for a folder that
    cannot be used.
    """
    place = cache_folder(cache)
    if place is None or place in _joined:
        return place
    if missing := why_not_here():
        raise ConfigError(f"data.cache = {cache!r}: {missing}")
    if place == MEMORY and not MEMORY.parent.is_dir():
        raise ConfigError(f"data.cache = 'ram': there is no {MEMORY.parent} on this machine; name a folder")
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if place == MEMORY and (foreign := why_foreign(place)):
            raise ConfigError(f"data.cache = 'ram': {foreign}; remove it, or name a folder of your own")
        users = open_here(place / ".users", os.O_RDWR | os.O_CREAT)
        try:
            if _alone(users):
                _tidy(place)
            lock(users, shared=True, wait=True)
        except BaseException:  # or its lock would keep everybody out, this process too, for as long as that lives
            os.close(users)
            raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"data.cache = {place}: cannot be used: {reason}; choose another folder") from error
    _joined[place] = users
    return place


def open_here(path: str | Path, flags: int) -> int:
    """Open a file of a place, for `opener=` too: never through a link, and without waiting for a pipe's other end."""
    return os.open(path, flags | NO_LINK | NO_WAITING, 0o600)


@atexit.register
def leave_all() -> None:
    """Let go of every place in use. The last one who uses memory gives it back; a folder stays for the next run."""
    while _joined:
        place, users = _joined.popitem()
        if place == MEMORY and _alone(users):
            _tidy(place)
        os.close(users)


def _alone(users: int) -> bool:
    """True, and nobody else can come, when no other process uses the place."""
    try:
        lock(users)
    except BlockingIOError:
        return False
    return True


def _tidy(place: Path) -> None:
    """Empty what killed runs left in memory; in a folder, remove the halves that they left, and count what is there."""
    total = 0
    for file in (file for file in place.glob("[0-9a-f][0-9a-f]/*") if _OWN.fullmatch(file.name)):
        with suppress(FileNotFoundError):  # the readers of a killed run live on for a moment, and finish their films
            if place == MEMORY or file.suffix == PARTIAL:
                file.unlink()
            else:
                total += file.lstat().st_size
    with open(place / ".bytes", "wb", opener=open_here) as counter:
        counter.write(b"%020d" % total)


@contextmanager
def only_one_at(entry: Path) -> Iterator[bool]:
    """True for one process at a time: each would decode the same film and count it. The kernel lets go of a killed one's."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with open(entry.parent.parent / ".writing", "ab", opener=open_here) as file:
        try:
            lock_byte(file.fileno(), int(entry.stem[:12], 16))  # a byte for each entry
            alone = True
        except (BlockingIOError, PermissionError):
            alone = False
        yield alone


def reserve(place: Path, size: int, limit_bytes: int) -> bool:
    """Count `size` more bytes as taken (fewer, when negative); not when that is too much for the limit, or for the disk."""
    disk = shutil.disk_usage(place)
    if size > 0 and disk.free - size < disk.total * _LEFT_FREE:
        return False
    with open(place / ".bytes", "r+b", opener=open_here) as file:
        lock(file.fileno(), wait=True)
        total = int(file.read()) + size
        if size > 0 and total > limit_bytes:
            return False
        os.pwrite(file.fileno(), b"%020d" % total, 0)  # at once, so that no kill leaves half a number
    return True
