"""Samples read in processes of our own, and batches of them in order, made while the last batch is being used.

A sample's pixels come back through memory that all processes share; a file that kills or blocks its process is lost
alone, and changes neither the other samples nor their order.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from videoadapt.processes.pool import Task, WorkerPool
from videoadapt.processes.slots import Failure, Item, Notes, Read
from videoadapt.processes.worker import Lost

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Sample(Generic[Item, Notes, Failure]):
    """An item and what was read of it: a Failure where that cannot be, a Lost where its process ended or was ended."""

    item: Item
    result: Read[Notes] | Failure | Lost


class Loader(Generic[Item, Notes, Failure, Batch]):
    """Iterates over `collate(samples)` of each of `batches`, lists of items, in order.

    `read` gives a Read of at most `sample_bytes` bytes of pixels, or a Failure of its own for an item that cannot be read.
    It travels to `workers` processes once, and the items one by one, so they had better be small. With no workers it is
    called here, and nothing limits its time. `collate` must copy the pixels: their memory is used again. An exception in
    `read` is raised here, and worker.CannotStart where processes end before they have begun.

    A file that was lost twice is not tried a third time: items with the same `file(item)` are lost at once.
    """

    def __init__(
        self,
        read: Callable[[Item], Read[Notes] | Failure],
        batches: Sequence[Sequence[Item]],
        collate: Callable[[Sequence[Sample[Item, Notes, Failure]]], Batch],
        *,
        workers: int,
        sample_bytes: int,
        limit_sec: float,
        file: Callable[[Item], Hashable] = lambda item: object(),  # each its own
    ):
        self._file = file
        self._read, self._batches, self._collate = read, batches, collate
        self._workers, self._sample_bytes, self._limit_sec = workers, sample_bytes, limit_sec

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Generator[Batch, None, None]:
        if not self._workers:
            for batch in self._batches:
                yield self._collate([Sample(item, self._read(item)) for item in batch])
            return
        batches = iter(self._batches)
        first = next(batches, None)
        if first is None:
            return
        # Room for two batches: one is read while the other waits for its last sample.
        room = 2 * max(len(first), self._workers)
        pool: WorkerPool[Item, Notes, Failure] = WorkerPool(
            self._read, self._workers, room, self._sample_bytes, self._limit_sec, self._file
        )
        ready: queue.SimpleQueue[Batch | _End] = queue.SimpleQueue()
        room_ahead = threading.Semaphore(1)
        made = self._batches_of(pool, chain([first], batches))
        threading.Thread(target=_produce, args=(made, ready, room_ahead), name="loader", daemon=True).start()
        try:
            while not isinstance(got := ready.get(), _End):
                room_ahead.release()
                yield got
            if got.error is not None:
                raise got.error
        finally:
            pool.stop()
            room_ahead.release()  # the thread wakes up, and sees that the pool has stopped

    def _batches_of(self, pool: WorkerPool[Item, Notes, Failure], batches: Iterable[Sequence[Item]]) -> Iterator[Batch]:
        begun: deque[list[Task[Item, Notes, Failure]]] = deque()
        for batch in batches:
            if len(batch) > pool.room:
                raise ValueError(f"a batch of {len(batch)} items after one of {pool.room // 2} at most")
            begun.append([])
            for item in batch:
                while pool.is_full:  # by earlier batches
                    yield self._finish(pool, begun.popleft())
                begun[-1].append(pool.begin(item))
        while begun:
            yield self._finish(pool, begun.popleft())

    def _finish(self, pool: WorkerPool[Item, Notes, Failure], tasks: Sequence[Task[Item, Notes, Failure]]) -> Batch:
        batch = self._collate([Sample(task.item, pool.wait_for(task)) for task in tasks])
        pool.release(tasks)
        return batch


@dataclass(frozen=True)
class _End:
    """Stands behind the last batch, with the exception that ended the iteration, if one did."""

    error: BaseException | None


def _produce(
    batches: Iterator[Batch], ready: "queue.SimpleQueue[Batch | _End]", room_ahead: threading.Semaphore
) -> None:
    """Put each batch where the other thread takes it: the next is made while the last one is used."""
    error: BaseException | None = None
    try:
        for batch in batches:
            ready.put(batch)
            room_ahead.acquire()
    except BaseException as raised:  # noqa: BLE001 - it is raised again in the other thread
        error = raised
    ready.put(_End(error))
