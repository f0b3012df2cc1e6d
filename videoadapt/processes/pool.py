"""Worker processes that read items into memory which all share; one that ends loses at most its file.

Shapes: S slots, N bytes of a slot.
"""

import atexit
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import Generic

import torch

from videoadapt import logger
from videoadapt.processes.slots import (
    Answer,
    Failure,
    InSlot,
    Item,
    LogLine,
    Notes,
    Raised,
    Read,
    into_slot,
    shared_memory,
)
from videoadapt.processes.worker import CannotStart, Lost, Pipe, Started, Worker, ready
from videoadapt.registry.transfer import transferable

_said: set[LogLine] = set()  # of these processes: each is shown once
_AT_HAND = 2  # items that a worker has: the one it works on, and the next


@dataclass(eq=False)
class Task(Generic[Item, Notes, Failure]):
    """An item, where its pixels go, and what became of it."""

    item: Item
    slot: int
    result: InSlot[Notes] | Failure | Raised | Lost | None = None
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
        memory = shared_memory(slots * slot_bytes)
        self.room, self._file = slots, file
        self._bytes_SN = torch.frombuffer(memory.buffer, dtype=torch.uint8)[: slots * slot_bytes].view(
            slots, slot_bytes
        )
        self._free = deque(range(slots))
        self._function = partial(into_slot, transferable(read), memory, slot_bytes)  # type: ignore[arg-type]  # mypy: all is Failure
        self._limit_sec = limit_sec
        self._workers: dict[Pipe, Worker[tuple[Item, int], Answer[Notes, Failure]]] = {}
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
            answered = ready(self._workers)
            for pipe in answered:
                self._take_answer(pipe)
            if not answered:
                self._replace_stopped()
            self._hand_out()
        if isinstance(task.result, Raised):
            raise task.result.error
        if isinstance(task.result, InSlot):
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

    def _replace_stopped(self) -> None:
        """Start others in place of processes that are stopped: neither they nor their files are to blame."""
        for pipe, tasks in list(self._has.items()):
            if tasks and self._workers[pipe].is_stopped(self._file(tasks[0].item)):
                self._replace(pipe, None)

    def _replace(self, pipe: Pipe, lost: Lost | None) -> None:
        """Start another process in place of one that ended; what it worked on is tried once more. None: it was stopped."""
        with self._changing:
            worker = self._workers.pop(pipe)
            worker.kill()
            worker.join()
        tasks = self._has.pop(pipe)
        if lost is None:
            pass
        elif not worker.started:
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
