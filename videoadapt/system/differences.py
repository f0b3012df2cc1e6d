"""What Linux, macOS and Windows have in different ways, or not all of them: users, limits, cores, memory, opened files."""

import getpass
import os

try:
    import pwd
    import resource
except ImportError:  # Windows
    pwd = resource = None  # type: ignore[assignment]

WINDOWS = os.name == "nt"  # without forks and signals from others, and what is open there is neither moved nor deleted
READ_BYTES = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # Windows translates the ends of lines otherwise
WRITE_BYTES = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
# never through a link, and without waiting for a pipe's other end: places where others may write
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAITING = getattr(os, "O_NONBLOCK", 0)


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
