"""Python's fork server, from which all other processes come: started where no signal ends it, never waited for in vain.

On Windows there is none, and each process begins by itself, with imports of its own.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

from videoadapt import logger
from videoadapt.processes.signals import FOR_ALL, held_back
from videoadapt.system import WINDOWS

LOOK_EVERY_SEC = 2.0  # at processes that do not answer
START_SEC = 120.0  # that imports may take, from a slow disk
PATIENCE_SEC = 10.0  # behind a limit
STOPPED = ("T", "t")  # by SIGSTOP, or a debugger
# Neither fork (threads of FFmpeg and torch) nor inherited files: a process sees at once when its parent is gone.
CONTEXT: Any = get_context("spawn" if WINDOWS else "forkserver")


def start_server() -> None:
    """Start the server, unless it runs, where no signal for all processes ends it.

    It imports for seconds, in which Ctrl-C would end it, and reports how the others end.
    """
    if WINDOWS:
        return
    with held_back(), _room_for_a_socket(), _imports_as_here():
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, FOR_ALL)  # it has let some of them come
        forkserver.ensure_running()


@contextmanager
def _imports_as_here() -> Iterator[None]:
    """Have the server import from where this process does.

    Python starts it by `-c`, for which the current folder comes first: a clone of another version, or a file `queue.py`.
    """
    ours = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(str(path or os.curdir) for path in sys.path)}
    given = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in given.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _room_for_a_socket() -> Iterator[None]:
    """Let Python put the server's socket into /tmp where $TMPDIR is long.

    Its name has 32 bytes more, and a socket's 107 at most (103 on macOS).
    """
    given = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > 70:
        tempfile.tempdir = "/tmp"
    try:
        yield
    finally:
        tempfile.tempdir = given


def start(process: BaseProcess) -> None:
    """Start a process; a server that is stopped, and may never go on, is said and replaced ten seconds after its limit."""
    start_server()
    while not _started(process):
        start_server()


def wait_for(process: BaseProcess) -> None:
    """Wait for the end of a process that was killed; where the server is stopped, it never says so, and is replaced."""
    since = time.monotonic()
    while process.is_alive():
        process.join(LOOK_EVERY_SEC)
        if time.monotonic() - since > PATIENCE_SEC:
            _end_if_stopped(time.monotonic() - since)


def state(pid: int | None) -> str:
    """The letter for what the kernel says that a process is doing; "" where it does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _started(process: BaseProcess) -> bool:
    """Start a process, in a thread: Ctrl-C does not come between the parts of what it is told, and need not wait for it.

    False where the server was stopped, and had to be ended.
    """
    failed: list[Exception] = []

    def begin() -> None:
        try:
            process.start()
        except Exception as error:  # noqa: BLE001 - it goes on in the thread that waits
            failed.append(error)

    thread, since, ended = Thread(target=begin, daemon=True), time.monotonic(), False
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_EVERY_SEC)
        waited_sec = time.monotonic() - since
        if thread.is_alive() and not ended and waited_sec > START_SEC + PATIENCE_SEC:
            ended = _end_if_stopped(waited_sec)
    if failed and not ended:
        raise failed[0]
    return not failed


def _end_if_stopped(silent_sec: float) -> bool:
    """End a server that is stopped: what waits for it hears so, and the next process gets another one."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)  # None on Windows
    if pid is None or state(pid) not in STOPPED:
        return False
    logger.warning(
        "process %d, which starts those that read, was stopped by SIGSTOP or a debugger, and has not answered for %.0f s; "
        "another one takes over",
        pid, silent_sec,
    )  # fmt: skip
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    while state(pid) not in ("", "Z"):  # whoever asks for another one is to see that this one is gone
        time.sleep(0.01)
    return True
