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
from typing import Any, Generic, TypeVar

from torch import Tensor

from videoadapt.processes.pool import Crew, Read, Task

Item = TypeVar("Item")
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Sample(Generic[Item]):
    """An item and what was read of it; `pixels` are None when its process was lost, and `rest` then says how."""

    item: Item
    pixels: Tensor | None
    rest: Any


class Loader(Generic[Item, Batch]):
    """Iterates over `collate(samples)` of each of `batches`, lists of items, in order.

    `read` maps an item to uint8 pixels of at most `sample_bytes` bytes and the rest. It travels to `workers` processes
    once, and the items one by one, so they had better be small. With no workers it is called here, and nothing limits
    its time. `collate` must copy the pixels: their memory is used again. An exception in `read` is raised here, and
    workers.CannotStart where processes end before they have begun.

    A file that was lost twice is not tried a third time: items with the same `file(item)` are lost at once.
    """

    def __init__(
        self,
        read: Callable[[Item], Read],
        batches: Sequence[Sequence[Item]],
        collate: Callable[[Sequence[Sample[Item]]], Batch],
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
                yield self._collate([Sample(item, *self._read(item)) for item in batch])
            return
        batches = iter(self._batches)
        first = next(batches, None)
        if first is None:
            return
        # Room for two batches: one is read while the other waits for its last sample.
        room = 2 * max(len(first), self._workers)
        crew = Crew(self._read, self._workers, room, self._sample_bytes, self._limit_sec, self._file)
        ready: queue.SimpleQueue[Batch | _End] = queue.SimpleQueue()
        room_ahead = threading.Semaphore(1)
        made = self._batches_of(crew, chain([first], batches))
        threading.Thread(target=_produce, args=(made, ready, room_ahead), name="loader", daemon=True).start()
        try:
            while not isinstance(got := ready.get(), _End):
                room_ahead.release()
                yield got
            if got.error is not None:
                raise got.error
        finally:
            crew.stop()
            room_ahead.release()  # the thread goes on, and sees that the crew has stopped

    def _batches_of(self, crew: Crew, batches: Iterable[Sequence[Item]]) -> Iterator[Batch]:
        begun: deque[list[Task]] = deque()
        for batch in batches:
            if len(batch) > crew.room:
                raise ValueError(f"a batch of {len(batch)} items after one of {crew.room // 2} at most")
            begun.append([])
            for item in batch:
                while crew.is_full:  # by earlier batches
                    yield self._finish(crew, begun.popleft())
                begun[-1].append(crew.begin(item))
        while begun:
            yield self._finish(crew, begun.popleft())

    def _finish(self, crew: Crew, tasks: Sequence[Task]) -> Batch:
        batch = self._collate([Sample(task.item, *crew.wait_for(task)) for task in tasks])
        crew.release(tasks)
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
    except BaseException as raised:  # noqa: BLE001 - it goes on in the other thread
        error = raised
    ready.put(_End(error))
