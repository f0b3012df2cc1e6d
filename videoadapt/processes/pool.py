"""Worker processes that read items into memory which all share; one that ends loses at most its file.

Shapes: S slots, N bytes of a slot.
"""

import atexit
import logging
import math
import os
import pickle
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from multiprocessing.heap import Arena
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from videoadapt.log import logger
from videoadapt.processes.worker import CannotStart, Lost, Started, Worker

Read = tuple[Tensor | None, Any]  # uint8 pixels, or None when there are none, and whatever else is said of them
_said: set[tuple[int, str]] = set()  # log lines of these processes: each is shown once
_AT_HAND = 2  # items that a worker has: the one it works on, and the next


@dataclass(eq=False)
class Task:
    """An item, where its pixels go, and what became of it."""

    item: Any
    slot: int
    result: Any = None  # what `_into_slot` returns, or a Lost
    lost: bool = False  # with its process, perhaps for no fault of its own: it gets a second one


class Crew:
    """Worker processes, the shared memory with a slot for each item in flight, and who has what."""

    def __init__(
        self,
        read: Callable[[Any], Read],
        workers: int,
        slots: int,
        slot_bytes: int,
        limit_sec: float,
        file: Callable[[Any], Hashable],
    ):
        memory = _shared_memory(slots * slot_bytes)
        self.room, self._file = slots, file
        self._bytes_SN = torch.frombuffer(memory.buffer, dtype=torch.uint8)[: slots * slot_bytes].view(
            slots, slot_bytes
        )
        self._free = deque(range(slots))
        self._start = partial(Worker, partial(_into_slot, read, memory, slot_bytes), limit_sec, sigterm=False)
        self._workers: dict[Any, Worker[Any, Any]] = {}
        self._has: dict[Any, deque[Task]] = {}  # by a worker's pipe, in the order in which it answers
        self._waiting: deque[Task] = deque()
        self._lost: dict[Hashable, Lost] = {}
        self._failed_starts = 0  # in a row
        self._changing = RLock()  # the garbage collector may come to `stop` from anywhere
        self._stopped = False
        atexit.register(self.stop)  # before multiprocessing waits for its processes, which wait for us
        for _ in range(workers):
            self._hire()

    @property
    def is_full(self) -> bool:
        """True while every slot is taken."""
        return not self._free

    def begin(self, item: Any) -> Task:
        """Have an item read, after those before it."""
        task = Task(item, self._free.popleft(), self._lost.get(self._file(item)))
        if task.result is not None:
            return task
        self._waiting.append(task)
        self._hand_out()
        return task

    def wait_for(self, task: Task) -> Read:
        """What was read of an item; the pixels are the slot's own. Raises what `read` raised."""
        while task.result is None:
            for pipe in connection.wait(list(self._workers)):
                self._take_answer(pipe)
            self._hand_out()
        if isinstance(task.result, Lost):
            return None, task.result
        if isinstance(task.result, BaseException):
            raise task.result
        shape, rest = task.result
        if shape is None:
            return None, rest
        return self._bytes_SN[task.slot, : math.prod(shape)].view(shape), rest

    def release(self, tasks: Sequence[Task]) -> None:
        """Let the slots of finished items be used again."""
        self._free.extend(task.slot for task in tasks)

    def stop(self) -> None:
        """End all processes, at once, from whichever thread; who waits for one of them gets a RuntimeError."""
        if self._stopped:  # at the interpreter's end the other thread may have come to rest with the lock
            return
        with self._changing:
            self._stopped = True
            for how in (Worker.kill, Worker.join):
                for worker in self._workers.values():
                    how(worker)
        atexit.unregister(self.stop)

    def _hire(self) -> None:
        with self._changing:
            worker = self._start()
            self._workers[worker.pipe], self._has[worker.pipe] = worker, deque()
            if self._stopped:
                worker.kill()
                raise RuntimeError("the loader is closed")

    def _hand_out(self) -> None:
        for number in range(_AT_HAND):  # nobody gets a second item before everybody has one
            for pipe, tasks in self._has.items():
                if self._waiting and len(tasks) == number:
                    task = self._waiting.popleft()
                    tasks.append(task)
                    self._workers[pipe].send((task.item, task.slot))

    def _take_answer(self, pipe: Any) -> None:
        answer = self._workers[pipe].receive()
        if isinstance(answer, Started):
            self._failed_starts = 0
            return
        if not isinstance(answer, Lost):
            self._has[pipe].popleft().result, said = answer
            for line in said:
                if line not in _said:  # each process says it once
                    _said.add(line)
                    logger.log(*line)
            return
        with self._changing:
            worker = self._workers.pop(pipe)
            worker.kill()
            worker.join()
        tasks = self._has.pop(pipe)
        if not worker.started:
            self._failed_starts += 1
            if self._failed_starts > 1 and not self._stopped:
                raise CannotStart(answer.reason)
        elif tasks and tasks[0].lost:
            task = tasks.popleft()
            task.result = self._lost[self._file(task.item)] = answer
        elif tasks:
            tasks[0].lost = True
        self._waiting.extendleft(reversed(tasks))
        self._hire()


def _shared_memory(size: int) -> Arena:
    """Memory for this process and those that it is sent to; what is never written takes none.

    Where there is memfd it does not count as /dev/shm, which is small in a container.
    """
    if not hasattr(os, "memfd_create"):
        return Arena(size)
    handle = os.memfd_create("videoadapt")
    os.ftruncate(handle, size)
    memory = Arena(size, handle)
    weakref.finalize(memory, os.close, handle)
    return memory


def _into_slot(
    read: Callable[[Any], Read], memory: Arena, slot_bytes: int, item_and_slot: tuple[Any, int]
) -> tuple[tuple[tuple[int, ...] | None, Any] | BaseException, list[tuple[int, str]]]:
    """Read an item and put its pixels into its slot.

    Returns their shape and the rest, or the exception of `read`; and what was logged, as level and message.
    """
    torch.set_num_threads(1)
    item, slot = item_and_slot
    with _collected() as said:
        try:
            pixels, rest = read(item)
            if pixels is None:
                return (None, rest), said
            count, start = pixels.numel(), slot * slot_bytes
            if pixels.dtype != torch.uint8 or count > slot_bytes:
                raise ValueError(f"{pixels.dtype} {tuple(pixels.shape)} does not fit into {slot_bytes} bytes")
            torch.frombuffer(memory.buffer, dtype=torch.uint8, offset=start, count=count).view(pixels.shape).copy_(
                pixels
            )
            return (tuple(pixels.shape), rest), said
        except Exception as error:  # noqa: BLE001 - it goes on in the parent
            error.add_note("in a loader's process:\n" + traceback.format_exc())
            return _sendable(error), said


def _sendable(error: Exception) -> Exception:
    """The same exception, or where it cannot travel between processes, one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its own code raises
        said = RuntimeError(f"{type(error).__name__}: {error}")
        said.add_note(error.__notes__[-1])
        return said
    return error


@contextmanager
def _collected() -> Iterator[list[tuple[int, str]]]:
    """Collect what is logged during the block; only the main process has a terminal and a log file."""
    lines: list[tuple[int, str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    yield lines
