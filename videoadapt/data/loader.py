"""Samples read in processes of our own, and batches of them in order, made while the last batch is being used.

A sample's pixels come back through memory that all processes share, from which a GPU copies a whole batch at once; a file
that kills or blocks its process is lost alone, and changes neither the other samples nor their order.

Shapes: B samples of a batch, N bytes of one.
"""

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from videoadapt.data.one_ahead import one_ahead
from videoadapt.processes.pool import Task, WorkerPool
from videoadapt.processes.slots import Failure, InSlot, Item, Notes, Read, Slots, put
from videoadapt.processes.worker import Lost

Batch = TypeVar("Batch")
CPU = torch.device("cpu")
_BATCHES = 4  # that there is memory for: one copied to the device, one that waits for its last samples, two behind it


@dataclass(frozen=True)
class Sample(Generic[Item, Notes, Failure]):
    """An item and what was read of it: a Failure where that cannot be, a Lost where its process ended or was ended."""

    item: Item
    result: InSlot[Notes] | Failure | Lost


class Loader(Generic[Item, Notes, Failure, Batch]):
    """Iterates over `collate(samples, pixels_BN)` of each of `batches`, lists of items, in order.

    `read` gives a Read of at most `sample_bytes` bytes of pixels, or a Failure of its own for an item that cannot be read.
    It travels to `workers` processes once, and the items one by one, so they had better be small. With no workers it is
    called here, and nothing limits its time. `pixels_BN` (B, sample_bytes) are uint8 on `device`, the batch's own: each
    sample's stand at the beginning of its row, and one without has any bytes there. No later batch is longer than the first.
    An exception in `read` is raised here, and worker.CannotStart where processes end before they have begun.

    A file that was lost twice is not tried a third time: items with the same `file(item)` are lost at once.

    With `in_place` the `pixels_BN` of `collate` are the shared memory itself, on the CPU, which is others' when it returns.
    Since making a batch of them takes long, a thread does so, one batch ahead; with no workers it is done here.
    """

    def __init__(
        self,
        read: Callable[[Item], Read[Notes] | Failure],
        batches: Sequence[Sequence[Item]],
        collate: Callable[[Sequence[Sample[Item, Notes, Failure]], Tensor], Batch],
        *,
        workers: int,
        sample_bytes: int,
        limit_sec: float,
        device: torch.device = CPU,
        file: Callable[[Item], Hashable] = lambda item: object(),  # each its own
        in_place: bool = False,
    ):
        self._file, self._in_place = file, in_place
        self._read, self._batches, self._collate = read, batches, collate
        self._workers, self._sample_bytes, self._limit_sec, self._device = workers, sample_bytes, limit_sec, device

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Generator[Batch, None, None]:
        if not self._workers or not len(self._batches):
            yield from map(self._read_here, self._batches)
            return
        size = len(self._batches[0])
        slots = Slots(size * max(_BATCHES, 1 + math.ceil(2 * self._workers / size)), self._sample_bytes)
        pool: WorkerPool[Item, Notes, Failure] = WorkerPool(
            self._read, self._workers, slots, self._limit_sec, self._file
        )
        ahead = _Ahead(pool, size, range(0, slots.number, size))

        def stop() -> None:
            pool.stop()
            ahead.free.put(None)
            ahead.ready.put(_End(None))

        try:
            if self._device.type == "cuda":
                slots.pin(self._device)  # while the processes import
            threading.Thread(target=ahead.run, args=(self._batches,), name="loader", daemon=True).start()
            made = self._made(ahead, slots)
            yield from one_ahead(made, stop, self._device) if self._in_place else made
        finally:
            stop()

    def _made(self, ahead: "_Ahead[Item, Notes, Failure]", slots: Slots) -> Iterator[Batch]:
        """All batches, each made when it is asked for."""
        take = self._collate_in_place if self._in_place else self._take
        while not isinstance(got := ahead.ready.get(), _End):
            yield take(got, slots, ahead.free)
        if (error := got.error) is not None:
            try:
                raise error
            finally:
                del got, error  # or it would hold itself, and all memory here, by its traceback

    def _take(
        self, tasks: "list[Task[Item, Notes, Failure]]", slots: Slots, free: "queue.SimpleQueue[_Free | None]"
    ) -> Batch:
        """Copy the pixels of a batch to the device, whereupon their memory is free again."""
        first = tasks[0].slot
        pixels_BN, copied = _moved(slots.bytes_SN[first : first + len(tasks)], self._device)
        free.put(_Free(first, copied))
        return self._collate([Sample(task.item, task.found()) for task in tasks], pixels_BN)

    def _collate_in_place(
        self, tasks: "list[Task[Item, Notes, Failure]]", slots: Slots, free: "queue.SimpleQueue[_Free | None]"
    ) -> Batch:
        """Collate a batch from its memory itself, which is free again then."""
        first = tasks[0].slot
        pixels_BN = slots.bytes_SN[first : first + len(tasks)]
        batch = self._collate([Sample(task.item, task.found()) for task in tasks], pixels_BN)
        free.put(_Free(first))
        return batch

    def _read_here(self, batch: Sequence[Item]) -> Batch:
        pixels_BN = torch.empty(len(batch), self._sample_bytes, dtype=torch.uint8)
        samples: list[Sample[Item, Notes, Failure]] = [
            Sample(item, put(self._read(item), slot_N)) for item, slot_N in zip(batch, pixels_BN, strict=True)
        ]
        return self._collate(samples, pixels_BN if self._in_place else pixels_BN.to(self._device))


def _moved(pixels_BN: Tensor, device: torch.device) -> tuple[Tensor, torch.cuda.Event | None]:
    """The pixels on the device, or a copy of them, and what tells when it is made, if not at once."""
    if device.type != "cuda":
        return pixels_BN.to(device, copy=True), None
    moved_BN, copied = pixels_BN.to(device, non_blocking=True), torch.cuda.Event(blocking=True)
    copied.record(torch.cuda.current_stream(device))
    return moved_BN, copied


class _Free(NamedTuple):
    """The first slot of memory for a batch, which may be written once a copy of what was there is made."""

    slot: int
    copied: torch.cuda.Event | None = None


@dataclass(frozen=True)
class _End:
    """Stands behind the last batch, with the exception that ended the iteration, if one did."""

    error: BaseException | None


class _Ahead(Generic[Item, Notes, Failure]):
    """What the loader's thread does: begin batches while there is memory for them, put them into `ready` in their order.

    It never copies a pixel, so that no worker waits for it. None in `free` ends it.
    """

    def __init__(self, pool: WorkerPool[Item, Notes, Failure], size: int, slots: Iterable[int]):
        self._pool, self._size = pool, size
        self._begun: deque[list[Task[Item, Notes, Failure]]] = deque()
        self.ready: queue.SimpleQueue[list[Task[Item, Notes, Failure]] | _End] = queue.SimpleQueue()
        self.free: queue.SimpleQueue[_Free | None] = queue.SimpleQueue()
        for slot in slots:
            self.free.put(_Free(slot))

    def run(self, batches: Iterable[Sequence[Item]]) -> None:
        """Have all batches read; behind the last one stands an _End."""
        error: BaseException | None = None
        try:
            for batch in batches:
                if len(batch) > self._size:
                    raise ValueError(f"a batch of {len(batch)} items after one of {self._size} at first")
                self._begun.append(self._pool.begin(batch, self._free_slot()))
            while self._is_reading():
                self._pool.work()
        except BaseException as raised:  # noqa: BLE001 - it is raised again in the other thread
            error = raised
        self._pool.leave()
        self.ready.put(_End(error))
        del error  # whose traceback has this frame

    def _free_slot(self) -> int:
        """Wait for memory for a batch."""
        while self._is_reading() and self.free.empty():
            self._pool.work()
        free = self.free.get()
        if free is None:
            raise RuntimeError("the loader is closed")
        if free.copied is not None:
            free.copied.synchronize()
        return free.slot

    def _is_reading(self) -> bool:
        """Hand complete batches over; True while there are others."""
        while self._begun and all(task.result is not None for task in self._begun[0]):
            self.ready.put(self._begun.popleft())
        return bool(self._begun)
