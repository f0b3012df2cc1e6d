"""Where Linux, macOS and Windows differ: users, limits, cores, memory, opened files and locks."""

import errno
import getpass
import os
from types import ModuleType

try:
    import pwd
    import resource
except ImportError:  # Windows
    pwd = resource = None  # type: ignore[assignment]
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
msvcrt: ModuleType | None
try:
    import msvcrt
except ImportError:  # everything else
    msvcrt = None

WINDOWS = os.name == "nt"  # without forks and signals from others, and what is open there is neither moved nor deleted
READ_BYTES = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # Windows translates the ends of lines otherwise
WRITE_BYTES = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
# never through a link, and without waiting for a pipe's other end: places where others may write
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAITING = getattr(os, "O_NONBLOCK", 0)
HAS_SHARED = fcntl is not None  # locks that several processes hold, and locks on parts of a file
_FAR_BYTE = 2**30  # Windows lets nobody read what is locked, and the file's text is for others


def user_number() -> int | None:
    """The number of the user who started this process; None where users have none."""
    return os.getuid() if hasattr(os, "getuid") else None


def user_name() -> str:
    """The user whose permissions this process has, `user anna`, or `user 1234` in a container that knows no name."""
    if pwd is None:
        return f"user {getpass.getuser()}"
    number = os.geteuid()
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"


def open_files_limit() -> int | None:
    """How many files this process may open at a time; None where nothing says so."""
    return None if resource is None else int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def usable_cores() -> int:
    """The cores that this process may use; all of the machine's where the system does not restrict them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """The machine's memory; None where nothing says it."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None


def lock(handle: int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file until it is closed, however its process ends: flock, on Windows a locked byte of it.

    Where another process holds it, raises BlockingIOError, or waits with `wait`.
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
