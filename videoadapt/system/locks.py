"""Locks on open files, which the kernel drops however their process ends: flock, and on Windows a locked byte."""

import errno
import os
from types import ModuleType

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
msvcrt: ModuleType | None
try:
    import msvcrt
except ImportError:  # everything else
    msvcrt = None

HAS_SHARED = fcntl is not None  # locks that several processes hold, and locks on parts of a file
_FAR_BYTE = 2**30  # Windows lets nobody read what is locked, and the file's text is for others


def lock(handle: int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file until it is closed; where another process holds it, raise BlockingIOError, or `wait`.

    A `shared` one may be held by several, and like waiting it needs HAS_SHARED. Raises another OSError without locks.
    """
    if fcntl is not None:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    elif msvcrt is not None and not shared and not wait:
        _lock_on_windows(handle, msvcrt)
    else:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def lock_byte(handle: int, number: int) -> None:
    """Lock one byte of an open file, which need not be there. Raises BlockingIOError or PermissionError as `lock` does."""
    if fcntl is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)


def _lock_on_windows(handle: int, library: ModuleType) -> None:
    os.lseek(handle, _FAR_BYTE, os.SEEK_SET)
    try:
        library.locking(handle, library.LK_NBLCK, 1)
    except PermissionError as error:
        raise BlockingIOError(errno.EAGAIN, error.strerror) from error
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
