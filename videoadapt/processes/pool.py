"""Worker processes that read items into memory which all share; one that ends loses at most its file."""

import atexit
import selectors
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import Generic

from videoadapt import logger
from videoadapt.processes.slots import Answer, Failure, InSlot, Item, LogLine, Notes, Raised, Read, Slots, into_slot
from videoadapt.processes.worker import CannotStart, Lost, Pipe, Started, Worker, ready
from videoadapt.registry.transfer import transferable

_said: set[LogLine] = set()  # of these processes: each is shown once
# items that a worker has: the one it works on, and the next; what fits into its pipe
_FEWEST_AT_HAND, _MOST_AT_HAND = 2, 32


@dataclass(eq=False)
class Task(Generic[Item, Notes, Failure]):
    """An item, where its pixels go, and what became of it."""

    item: Item
    slot: int
    result: InSlot[Notes] | Failure | Raised | Lost | None = None
    lost: bool = False  # with its process, perhaps for no fault of its own: it gets a second one

    def found(self) -> InSlot[Notes] | Failure | Lost:
        """What a task that is done came to. Raises what `read` raised, once."""
        if isinstance(self.result, Raised):
            error, self.result = self.result.error, None
            try:
                raise error
            finally:
                del error  # by its traceback it would hold itself, and all memory of the batch
        assert self.result is not None, "a task that is done has a result"
        return self.result


class WorkerPool(Generic[Item, Notes, Failure]):
    """Worker processes, and who has which item.

    `read` gives a Read, or a Failure of its own for an item that cannot be read.
    """

    def __init__(
        self,
        read: Callable[[Item], Read[Notes] | Failure],
        workers: int,
        slots: Slots,
        limit_sec: float,
        file: Callable[[Item], Hashable],
    ):
        self._file, self._limit_sec = file, limit_sec
        self._function = partial(into_slot, transferable(read), slots)  # type: ignore[arg-type]  # mypy: all is Failure
        self._workers: dict[Pipe, Worker[tuple[Item, int], Answer[Notes, Failure]]] = {}
        self._pipes = selectors.DefaultSelector()
        self._has: dict[Pipe, deque[Task[Item, Notes, Failure]]] = {}  # in the order in which a worker answers
        self._waiting: deque[Task[Item, Notes, Failure]] = deque()
        self._lost: dict[Hashable, Lost] = {}
        self._failed_starts = 0  # in a row
        self._changing = RLock()  # the garbage collector may come to `stop` from anywhere
        self._stopped = self._is_left = False
        atexit.register(self.stop)  # before multiprocessing waits for its processes, which wait for us
        for _ in range(workers):
            self._start_worker()

    def begin(self, items: Sequence[Item], slot: int) -> list[Task[Item, Notes, Failure]]:
        """Have items read, after those before them, into this slot and those that follow."""
        tasks: list[Task[Item, Notes, Failure]] = [Task(item, slot + index) for index, item in enumerate(items)]
        self._waiting.extend(tasks)
        self._hand_out()
        return tasks

    def work(self) -> None:
        """Wait until tasks have results, server.LOOK_EVERY_SEC at most, and give those who are done more to do."""
        answered = ready(self._pipes)
        for pipe in answered:
            self._take_answer(pipe)
        if not answered:
            self._replace_stopped()
        self._hand_out()

    def stop(self) -> None:
        """End all processes, at once, from whichever thread; who waits for one of them gets a RuntimeError."""
        if self._stopped:  # at the interpreter's end the other thread may have come to rest with the lock
            return
        with self._changing:
            self._stopped = True
            for how in (Worker.kill, Worker.join):
                for worker in self._workers.values():
                    how(worker)
            self._close()
        atexit.unregister(self.stop)

    def leave(self) -> None:
        """Say, in the thread that has worked, that it does no more; then all is closed, here or once they are stopped."""
        with self._changing:
            self._is_left = True
            self._close()

    def _close(self) -> None:
        if self._is_left and self._stopped:
            self._pipes.close()
            for worker in self._workers.values():
                worker.close()
            del self._function  # and the slots: an error's traceback may hold what is here

    def _start_worker(self) -> None:
        with self._changing:
            if not self._stopped:
                worker = Worker(self._function, self._limit_sec, sigterm=False)
                self._workers[worker.pipe], self._has[worker.pipe] = worker, deque()
                self._pipes.register(worker.pipe, selectors.EVENT_READ)
                if self._stopped:  # meanwhile, by the garbage collector
                    worker.kill()
                    worker.join()
            if self._stopped:
                raise RuntimeError("the loader is closed")

    def _hand_out(self) -> None:
        """Half of what is to be read lies with the workers in equal parts, the other half waits for whoever is first."""
        unread = len(self._waiting) + sum(map(len, self._has.values()))
        most = min(max(_FEWEST_AT_HAND, unread // (2 * len(self._has))), _MOST_AT_HAND)
        while self._waiting:
            pipe, tasks = min(self._has.items(), key=lambda entry: len(entry[1]))
            if len(tasks) >= most:
                return
            task = self._waiting.popleft()
            task.result = self._lost.get(self._file(task.item))
            if task.result is None:
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
            self._pipes.unregister(pipe)
            worker.kill()
            worker.join()
            worker.close()
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
