"""Python as the package finds it on Windows, in a child process and in those that it starts; Linux goes on beneath.

Only modules of videoadapt see less: other libraries have their own ways on Windows.
"""

import builtins
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).parent.parent
ABSENT_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
_OS = """
    fork forkpty getuid geteuid getgid getegid setsid getpgid killpg chown lchown mkfifo pread pwrite statvfs sysconf
    memfd_create sched_getaffinity sched_setaffinity getloadavg nice uname wait4 WNOHANG O_NOFOLLOW O_NONBLOCK O_CLOEXEC
    O_DIRECTORY ST_RDONLY fchmod posix_fallocate register_at_fork
"""
_SIGNAL = """
    SIGUSR1 SIGUSR2 SIGHUP SIGKILL SIGALRM SIGSTOP SIGCONT SIGPIPE SIGQUIT SIGCHLD setitimer getitimer ITIMER_REAL
    alarm pthread_sigmask pthread_kill SIG_BLOCK SIG_UNBLOCK SIG_SETMASK sigwait sigtimedwait sigpending
"""
ABSENT = {"os": _OS, "signal": _SIGNAL, "select": "poll epoll kqueue", "time": "tzset", "socket": "AF_UNIX"}


class _View(ModuleType):
    """A module without some of its names, and with others in their place."""

    def __init__(self, real: ModuleType, absent: set[str], instead: Mapping[str, Any]):
        super().__init__(real.__name__)
        vars(self).update(instead)
        self._real, self._absent = real, absent

    def __getattr__(self, name: str) -> Any:
        if name in self._absent:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._real, name)


def install(below: Path) -> None:
    """Let videoadapt find what Windows has; files in `below` are moved and deleted as Windows does it."""
    _refuse_open_files(below)
    found, views = builtins.__import__, _views()

    def look(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> ModuleType:
        if level == 0 and (globals or {}).get("__name__", "").partition(".")[0] == "videoadapt":
            if name in ABSENT_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in views:
                return views[name]
        return found(name, globals, locals, fromlist, level)

    builtins.__import__ = look


def _views() -> dict[str, ModuleType]:
    instead = {"os": {"name": "nt", "open": _open, "fsync": _fsync}}
    views = {
        name: _View(__import__(name), set(absent.split()), instead.get(name, {})) for name, absent in ABSENT.items()
    }
    views["msvcrt"] = ModuleType("msvcrt")
    vars(views["msvcrt"]).update(LK_NBLCK=2, locking=_locking)
    return views


def _locking(handle: int, mode: int, count: int) -> None:
    import fcntl

    assert mode == 2 and count == 1
    assert os.lseek(handle, 0, os.SEEK_CUR) > 10**6, "what is locked on Windows cannot be read by others"
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error


def _open(path: Any, flags: int, mode: int = 0o777) -> int:
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return os.open(path, flags, mode)


def _fsync(handle: int) -> None:
    import fcntl

    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    os.fsync(handle)


def _refuse_open_files(below: Path) -> None:
    def checked(real: Callable[..., None]) -> Callable[..., None]:
        def function(path: Any, *rest: Any, **options: Any) -> None:
            if Path(os.path.abspath(path)).is_relative_to(below) and os.path.abspath(path) in _open_files():
                raise PermissionError(errno.EACCES, "it is being used by another process", str(path))
            real(path, *rest, **options)

        return function

    for name in ("replace", "rename", "unlink", "remove"):
        setattr(os, name, checked(getattr(os, name)))


def _open_files() -> set[str]:
    handles = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return {os.readlink(handle) for handle in handles if os.path.islink(handle)}


def environment(folder: Path) -> dict[str, str]:
    """Variables with which Python, and the processes that it starts, come up as on Windows; `folder` is theirs."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    own = f"import sys; sys.path.insert(1, {str(REPOSITORY)!r})\n"
    start = (
        f"from pathlib import Path\nfrom tests.as_on_windows import install\ninstall(Path({str(folder.resolve())!r}))\n"
    )
    (site / "sitecustomize.py").write_text(own + start, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"}


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with arguments, as on Windows, until it ends."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment(folder), cwd=folder, capture_output=True, text=True, timeout=300)
