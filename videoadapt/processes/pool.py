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
from multiprocessing.heap import Arena
from threading import RLock
from typing import Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from videoadapt import logger
from videoadapt.processes.worker import CannotStart, Lost, Pipe, Started, Worker, ready
from videoadapt.registry.transfer import transferable

Item = TypeVar("Item")
Notes = TypeVar("Notes")
Failure = TypeVar("Failure")
LogLine: TypeAlias = tuple[int, str]  # level and message
_said: set[LogLine] = set()  # of these processes: each is shown once
_AT_HAND = 2  # items that a worker has: the one it works on, and the next


@dataclass(frozen=True)
class Read(Generic[Notes]):
    """What was read of an item: uint8 pixels, which travel through shared memory, and what there is to say of them."""

    pixels: Tensor
    notes: Notes


@dataclass(frozen=True)
class _InSlot(Generic[Notes]):
    """Stands for a Read whose pixels, of this shape, lie in the item's slot."""

    shape: tuple[int, ...]
    notes: Notes


@dataclass(frozen=True)
class _Raised:
    """An exception that reading raised."""

    error: Exception


@dataclass(frozen=True)
class _Answer(Generic[Notes, Failure]):
    """What a worker says to an item, and what it logged meanwhile."""

    result: _InSlot[Notes] | Failure | _Raised
    lines: list[LogLine]


@dataclass(eq=False)
class Task(Generic[Item, Notes, Failure]):
    """An item, where its pixels go, and what became of it."""

    item: Item
    slot: int
    result: _InSlot[Notes] | Failure | _Raised | Lost | None = None
    lost: bool = False  # with its process, perhaps for no fault of its own: it gets a second one


class WorkerPool(Generic[Item, Notes, Failure]):
    """Worker processes, the shared memory with a slot for each item in flight, and who has what.

    `read` gives a Read, or a Failure of its own for an item that cannot be read.
    """

    def __init__(
        self,
        read: Callable[[Item], Read[Notes] | Failure],
        workers: int,
        slots: int,
        slot_bytes: int,
        limit_sec: float,
        file: Callable[[Item], Hashable],
    ):
        memory = _shared_memory(slots * slot_bytes)
        self.room, self._file = slots, file
        self._bytes_SN = torch.frombuffer(memory.buffer, dtype=torch.uint8)[: slots * slot_bytes].view(
            slots, slot_bytes
        )
        self._free = deque(range(slots))
        self._function = partial(_into_slot, transferable(read), memory, slot_bytes)  # type: ignore[arg-type]  # mypy: all is Failure
        self._limit_sec = limit_sec
        self._workers: dict[Pipe, Worker[tuple[Item, int], _Answer[Notes, Failure]]] = {}
        self._has: dict[Pipe, deque[Task[Item, Notes, Failure]]] = {}  # in the order in which a worker answers
        self._waiting: deque[Task[Item, Notes, Failure]] = deque()
        self._lost: dict[Hashable, Lost] = {}
        self._failed_starts = 0  # in a row
        self._changing = RLock()  # the garbage collector may come to `stop` from anywhere
        self._stopped = False
        atexit.register(self.stop)  # before multiprocessing waits for its processes, which wait for us
        for _ in range(workers):
            self._start_worker()

    @property
    def is_full(self) -> bool:
        """True while every slot is taken."""
        return not self._free

    def begin(self, item: Item) -> Task[Item, Notes, Failure]:
        """Have an item read, after those before it."""
        task: Task[Item, Notes, Failure] = Task(item, self._free.popleft(), self._lost.get(self._file(item)))
        if task.result is None:
            self._waiting.append(task)
            self._hand_out()
        return task

    def wait_for(self, task: Task[Item, Notes, Failure]) -> Read[Notes] | Failure | Lost:
        """What was read of an item; the pixels are the slot's own. Raises what `read` raised."""
        while task.result is None:
            for pipe in ready(self._workers):
                self._take_answer(pipe)
            self._hand_out()
        if isinstance(task.result, _Raised):
            raise task.result.error
        if isinstance(task.result, _InSlot):
            shape = task.result.shape
            return Read(self._bytes_SN[task.slot, : math.prod(shape)].view(shape), task.result.notes)
        return task.result

    def release(self, tasks: Sequence[Task[Item, Notes, Failure]]) -> None:
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

    def _start_worker(self) -> None:
        with self._changing:
            worker = Worker(self._function, self._limit_sec, sigterm=False)
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

    def _take_answer(self, pipe: Pipe) -> None:
        answer = self._workers[pipe].receive()
        if isinstance(answer, Started):
            self._failed_starts = 0
        elif isinstance(answer, Lost):
            self._replace(pipe, answer)
        else:
            self._has[pipe].popleft().result = answer.result
            for line in answer.lines:
                if line not in _said:  # each process says it once
                    _said.add(line)
                    logger.log(*line)

    def _replace(self, pipe: Pipe, lost: Lost) -> None:
        """Start another process in place of one that ended; what it worked on is tried once more."""
        with self._changing:
            worker = self._workers.pop(pipe)
            worker.kill()
            worker.join()
        tasks = self._has.pop(pipe)
        if not worker.started:
            self._failed_starts += 1
            if self._failed_starts > 1 and not self._stopped:
                raise CannotStart(lost.reason)
        elif tasks and tasks[0].lost:
            task = tasks.popleft()
            task.result = self._lost[self._file(task.item)] = lost
        elif tasks:
            tasks[0].lost = True
        self._waiting.extendleft(reversed(tasks))
        self._start_worker()


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
    read: Callable[[Item], Read[Notes] | Failure], memory: Arena, slot_bytes: int, item_and_slot: tuple[Item, int]
) -> _Answer[Notes, Failure]:
    """Read an item and put its pixels into its slot."""
    torch.set_num_threads(1)
    item, slot = item_and_slot
    with _collected() as lines:
        try:
            result = read(item)
            if not isinstance(result, Read):
                return _Answer(result, lines)
            pixels, count = result.pixels, result.pixels.numel()
            if pixels.dtype != torch.uint8 or count > slot_bytes:
                raise ValueError(f"{pixels.dtype} {tuple(pixels.shape)} does not fit into {slot_bytes} bytes")
            into = torch.frombuffer(memory.buffer, dtype=torch.uint8, offset=slot * slot_bytes, count=count)
            into.view(pixels.shape).copy_(pixels)
            return _Answer(_InSlot(tuple(pixels.shape), result.notes), lines)
        except Exception as error:  # noqa: BLE001 - it is raised again in the parent
            error.add_note("in a loader's process:\n" + traceback.format_exc())
            return _Answer(_Raised(_sendable(error)), lines)


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
def _collected() -> Iterator[list[LogLine]]:
    """Collect what is logged during the block; only the main process has a terminal and a log file."""
    lines: list[LogLine] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    yield lines
