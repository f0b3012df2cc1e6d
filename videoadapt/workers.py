"""One call a file, in real processes: a file that kills or blocks its process loses itself and nothing else."""

import math
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
POLL_SEC = 0.5
STOP_SEC = 5.0  # what a process gets to remove what it had begun


@dataclass(frozen=True)
class Lost:
    """Stands where a result should be, when the process that worked on it ended or was ended."""

    reason: str


class _Worker(Generic[Item, Result]):
    def __init__(self, function: Callable[[Item], Result]):
        # Neither fork (threads of FFmpeg and torch) nor inherited files: a worker sees at once when its parent is gone.
        context = get_context("forkserver")
        context.set_forkserver_preload([getattr(function, "func", function).__module__])
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(function, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.index = -1
        self.started = False  # imports are done; they take seconds, and count for no item
        self.deadline = math.inf

    def begin(self, item: Item, limit_sec: float) -> None:
        """Hand over an item. Where the process was killed while idle, `receive` reports it for this item."""
        if self.started:
            self.deadline = time.monotonic() + limit_sec
        with suppress(OSError):
            self.pipe.send(item)

    def receive(self) -> Result | Lost:
        """What the process says, or how it ended."""
        try:
            result: Result = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(STOP_SEC)
            code = self.process.exitcode
            if code is not None and code < 0:
                return Lost(f"the process that worked on it was killed by {signal.Signals(-code).name}")
            return Lost(f"the process that worked on it ended with exit code {code}")
        return result

    def stop(self) -> None:
        """End the process, politely first."""
        self.pipe.close()
        self.process.terminate()
        self.process.join(STOP_SEC)
        self.process.kill()
        self.process.join()


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int, limit_sec: float
) -> Iterator[tuple[int, Result | Lost]]:
    """Yield (index, `function(items[index])`) as results arrive, from `jobs` processes, each item exactly once.

    `function` is a function of a module, or a `functools.partial` of one. Where its process dies (a crash in native
    code, the memory killer, an exception, whose traceback is on stderr) or works on one item longer than `limit_sec`,
    the result is a Lost, and a new process takes over the rest.
    """
    waiting = deque(range(len(items)))
    busy: list[_Worker[Item, Result]] = []
    idle: list[_Worker[Item, Result]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker = idle.pop() if idle else _Worker(function)
                busy.append(worker)
                worker.index = waiting.popleft()
                worker.begin(items[worker.index], limit_sec)
            ready = connection.wait([worker.pipe for worker in busy], POLL_SEC)
            for worker in list(busy):
                result: Result | Lost
                if worker.pipe in ready:
                    result = worker.receive()
                    if not worker.started and not isinstance(result, Lost):
                        worker.started, worker.deadline = True, time.monotonic() + limit_sec
                        continue
                elif time.monotonic() > worker.deadline:
                    result = Lost(f"took longer than {limit_sec:g} s")
                else:
                    continue
                busy.remove(worker)
                if isinstance(result, Lost):
                    worker.stop()
                else:
                    idle.append(worker)
                yield worker.index, result
    finally:
        for worker in (*idle, *busy):
            worker.stop()


def _serve(function: Callable[[Any], Any], pipe: "connection.Connection[Any, Any]") -> None:
    """Answer items until the other end is gone. Ctrl-C reaches the parent, which stops the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # runs `finally`, which removes partial files
    pipe.send(None)  # started
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        result = function(item)
        try:
            pipe.send(result)
        except OSError:
            return
