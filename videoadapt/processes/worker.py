"""One call a file, in real processes: a file that kills or blocks its process loses itself and nothing else."""

import faulthandler
import math
import os
import selectors
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from typing import Any, Generic, TypeAlias, TypeVar, cast

from videoadapt import logger
from videoadapt.processes import server
from videoadapt.processes.server import CONTEXT
from videoadapt.processes.signals import killed_by, known_here, take_signals
from videoadapt.registry.transfer import transferable
from videoadapt.system import WINDOWS

Pipe: TypeAlias = "connection.Connection[Any, Any]"
Item = TypeVar("Item")
Result = TypeVar("Result")
STOP_SEC = 5.0  # what a process gets to remove what it had begun
_TELL_SEC = 60.0  # until a process that has hung up has an exit code, which another process passes on
_SAY_EVERY_SEC = 60.0
_ENDED_BY_WATCH, _FAILED = 1, 2  # exit codes on Windows: faulthandler gives the first


@dataclass(frozen=True)
class Lost:
    """Stands where a result should be, when the process that worked on it ended or was ended.

    `overtime` tells a file that took too long from one whose process died.
    """

    reason: str
    overtime: bool = False


@dataclass(frozen=True)
class Started:
    """The first thing that a process says: its imports are done."""


class CannotStart(RuntimeError):
    """Processes end before they have begun: no file is to blame."""

    def __init__(self, reason: str):
        super().__init__(
            f"{reason} before it had begun (what it says is above); a script that reads videos needs "
            "`if __name__ == '__main__':` around what it does"
        )


class Worker(Generic[Item, Result]):
    """A process that answers items in the order in which they were sent, each within `limit_sec`.

    The limit is the kernel's: SIGALRM ends a process that is blocked in native code, whatever locks it holds, also
    when its parent is gone. `function` is a function of a module, or a `functools.partial` of one. A process to which
    `sigterm` means nothing ends with its parent, or by `kill`.
    """

    def __init__(self, function: Callable[[Item], Result], limit_sec: float, *, sigterm: bool = True):
        self._limit_sec = limit_sec
        parts = [function.func, *function.args] if isinstance(function, partial) else [function]
        modules = [getattr(part, "__module__", None) for part in parts]
        CONTEXT.set_forkserver_preload([module for module in modules if module])
        self._open = 0  # items without an answer
        self._since = time.monotonic()  # it has the oldest of them
        self._said_at = -math.inf
        self.pipe, theirs = CONTEXT.Pipe()
        arguments = (function, theirs, limit_sec, sigterm)
        self._process = CONTEXT.Process(target=_serve, args=arguments, daemon=True)
        try:
            server.start(self._process)
        except BaseException:
            self.pipe.close()  # what starts all the same has nobody to listen to, and ends
            raise
        finally:
            theirs.close()
        self.started = False

    def send(self, item: Item) -> None:
        """Hand over an item. Where the process is gone, `receive` reports it."""
        if not self._open:
            self._since = time.monotonic()
        self._open += 1
        with suppress(OSError):
            self.pipe.send(item)

    def receive(self) -> Result | Lost | Started:
        """Wait for what the process says to the oldest item without an answer, or how the process ended."""
        try:
            result: Result | Started = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(_TELL_SEC)
            code = self._process.exitcode
            if self._is_overtime(code):
                return Lost(f"took longer than {self._limit_sec:g} s", overtime=True)
            if code is not None and code < 0:
                return Lost(f"the process that worked on it was {killed_by(-code)}")
            return Lost(f"the process that worked on it ended with exit code {code}")
        self._open -= self.started  # the first word is no answer
        self.started, self._since = True, time.monotonic()
        return result

    def _is_overtime(self, code: int | None) -> bool:
        if WINDOWS:
            return code == _ENDED_BY_WATCH and self.started
        return code == -signal.SIGALRM

    def is_stopped(self, item: object) -> bool:
        """Whether the process, which does not answer to `item`, is stopped: by SIGSTOP, or a debugger. It may never go on.

        Known only when its limit is well over, at which the kernel ends a process that runs. One that waits for a disk or
        the network, which nothing can end, is waited for; both are said, the latter every minute.
        """
        limit_sec = self._limit_sec if self.started else max(self._limit_sec, server.START_SEC)
        silent_sec = time.monotonic() - self._since
        if not self._open or silent_sec < limit_sec + server.PATIENCE_SEC:
            return False
        state, pid = server.state(self._process.pid), self._process.pid
        if state in server.STOPPED:
            logger.warning(
                "process %s, stopped by SIGSTOP or a debugger, has not answered for %.0f s to %s; another one takes over",
                pid, silent_sec, item,
            )  # fmt: skip
            return True
        if time.monotonic() - self._said_at >= _SAY_EVERY_SEC:
            self._said_at = time.monotonic()
            why = " (it waits for a disk or the network)" if state == "D" else ""
            logger.warning("process %s has not answered for %.0f s to %s%s: waiting on", pid, silent_sec, item, why)
        return False

    def stop(self) -> None:
        """End the process, politely first."""
        self.pipe.close()
        self._process.terminate()
        self._process.join(STOP_SEC)
        self.kill()
        self.join()
        self.close()

    def kill(self) -> None:
        """End the process at once; `receive` then says so to whoever waits for it."""
        self._process.kill()

    def join(self) -> None:
        """Wait for the end of a process that was killed."""
        server.wait_for(self._process)

    def close(self) -> None:
        """Close what is open of a process that has ended: the garbage collector takes its time, and a process has few files."""
        self.pipe.close()
        self._process.close()


def ready(pipes: selectors.BaseSelector) -> list[Pipe]:
    """Wait until at least one worker's pipe has something to receive; return all of these, none after server.LOOK_EVERY_SEC.

    With 64 of them it takes a hundredth of what multiprocessing.connection.wait does, which begins anew each time, and which
    Windows needs.
    """
    if WINDOWS:
        mine = [cast(Pipe, key.fileobj) for key in pipes.get_map().values()]
        return cast(list[Pipe], connection.wait(mine, server.LOOK_EVERY_SEC))
    return [cast(Pipe, key.fileobj) for key, _ in pipes.select(server.LOOK_EVERY_SEC)]


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int, limit_sec: float
) -> Iterator[tuple[int, Result | Lost]]:
    """Yield (index, `function(items[index])`) as results arrive, from `jobs` processes, each item exactly once.

    Where a process dies (a crash in native code, the memory killer, an exception, whose traceback is on stderr) or
    works on one item longer than `limit_sec`, the result is a Lost, and a new process takes over the rest; where it is
    stopped, a new one takes over that item as well. Raises CannotStart where one ends before it has begun.
    """
    waiting = deque(range(len(items)))
    busy: dict[Pipe, tuple[Worker[Item, Result], int]] = {}
    pipes, sent = selectors.DefaultSelector(), transferable(function)
    idle: list[Worker[Item, Result]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker = idle.pop() if idle else Worker(sent, limit_sec)
                busy[worker.pipe] = worker, waiting.popleft()
                pipes.register(worker.pipe, selectors.EVENT_READ)
                worker.send(items[busy[worker.pipe][1]])
            answered = ready(pipes)
            for pipe in [] if answered else list(busy):
                worker, index = busy[pipe]
                if worker.is_stopped(items[index]):
                    del busy[pipe]
                    pipes.unregister(pipe)
                    worker.kill()
                    worker.join()
                    worker.close()
                    waiting.appendleft(index)
            for pipe in answered:
                worker, index = busy[pipe]
                result = worker.receive()
                if isinstance(result, Started):
                    continue
                del busy[pipe]
                pipes.unregister(pipe)
                if isinstance(result, Lost):
                    worker.stop()
                    if not worker.started:
                        raise CannotStart(result.reason)
                else:
                    idle.append(worker)
                yield index, result
    finally:
        for worker in (*idle, *(worker for worker, _ in busy.values())):
            worker.stop()


def _serve(function: Callable[[Any], Any], pipe: Pipe, limit_sec: float, sigterm: bool) -> None:
    """Answer items until the other end is gone. Ctrl-C and Slurm's SIGUSR2 are for the parent, which stops the workers."""
    for number in known_here("SIGINT", "SIGUSR2"):
        signal.signal(number, signal.SIG_IGN)
    if not WINDOWS:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever the parent's parent made of it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    if sigterm:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # runs `finally`, which removes partial files
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_signals()
    with suppress(OSError):  # the parent is gone already
        pipe.send(Started())
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        with _time_limit(limit_sec):
            result = function(item)
        try:
            pipe.send(result)
        except OSError:
            return


@contextmanager
def _time_limit(limit_sec: float) -> Iterator[None]:
    """End this process when the block takes longer; on Windows by a thread of C, which native code does not block either."""
    if WINDOWS:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            faulthandler.dump_traceback_later(limit_sec, exit=True, file=nowhere)
            try:
                yield
            except Exception:  # noqa: BLE001 - of whatever a file is read with; Python's own exit code is the watch's
                traceback.print_exc()
                sys.exit(_FAILED)
            faulthandler.cancel_dump_traceback_later()
        return
    signal.setitimer(signal.ITIMER_REAL, limit_sec)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
