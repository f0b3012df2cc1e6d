"""Memory that processes share, in slots, and what a worker does with an item: its pixels into a slot, the rest as an answer.

Shapes: S slots, N bytes of a slot.
"""

import logging
import os
import pickle
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.heap import Arena
from typing import Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from videoadapt import logger

Item = TypeVar("Item")
Notes = TypeVar("Notes")
Failure = TypeVar("Failure")
LogLine: TypeAlias = tuple[int, str]  # level and message
_FOR_ALL_GPUS = 1  # cudaHostRegisterPortable


@dataclass(frozen=True)
class Read(Generic[Notes]):
    """What was read of an item: uint8 pixels, which travel through shared memory, and what there is to say of them."""

    pixels: Tensor
    notes: Notes


@dataclass(frozen=True)
class InSlot(Generic[Notes]):
    """Stands for a Read whose pixels, of this shape, lie in the item's slot."""

    shape: tuple[int, ...]
    notes: Notes


@dataclass(frozen=True)
class Raised:
    """An exception that reading raised."""

    error: Exception


@dataclass(frozen=True)
class Answer(Generic[Notes, Failure]):
    """What a worker says to an item, and what it logged meanwhile."""

    result: InSlot[Notes] | Failure | Raised
    lines: list[LogLine]


class Slots:
    """Slots of equal size, one behind another, in memory of this process and of those that it is sent to."""

    def __init__(self, number: int, slot_bytes: int):
        self.number, self.slot_bytes = number, slot_bytes
        self._memory = _shared_memory(number * slot_bytes)

    @property
    def bytes_SN(self) -> Tensor:
        """The memory itself, uint8 (S, N)."""
        size = self.number * self.slot_bytes
        return torch.frombuffer(self._memory.buffer, dtype=torch.uint8, count=size).view(self.number, self.slot_bytes)

    def pin(self, device: torch.device) -> None:
        """Let a GPU copy from the memory in the background for as long as it is there.

        Where CUDA refuses, which is said, it copies through memory of its own, and whoever asks waits for it.
        """
        with torch.cuda.device(device):
            cudart, start = torch.cuda.cudart(), self.bytes_SN.data_ptr()
            error = int(cudart.cudaHostRegister(start, self.number * self.slot_bytes, _FOR_ALL_GPUS))
        if error:
            logger.warning(
                "shared memory for clips cannot be pinned (CUDA error %d): copies to the GPU take longer", error
            )
            return
        weakref.finalize(self._memory, _unpin, device, start).atexit = False


def _unpin(device: torch.device, start: int) -> None:
    torch.cuda.synchronize(device)  # a copy may be on its way
    torch.cuda.cudart().cudaHostUnregister(start)


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


def put(result: Read[Notes] | Failure, slot_N: Tensor) -> InSlot[Notes] | Failure:
    """Copy the pixels of what was read into a slot; a Failure has none. Raises ValueError where they do not fit."""
    if not isinstance(result, Read):
        return result
    pixels, count = result.pixels, result.pixels.numel()
    if pixels.dtype != torch.uint8 or count > len(slot_N):
        raise ValueError(f"{pixels.dtype} {tuple(pixels.shape)} does not fit into {len(slot_N)} bytes")
    slot_N[:count].view(pixels.shape).copy_(pixels)
    return InSlot(tuple(pixels.shape), result.notes)


def into_slot(
    read: Callable[[Item], Read[Notes] | Failure], slots: Slots, item_and_slot: tuple[Item, int]
) -> Answer[Notes, Failure]:
    """Read an item and put its pixels into its slot."""
    torch.set_num_threads(1)
    item, slot = item_and_slot
    with _collected() as lines:
        try:
            return Answer(put(read(item), slots.bytes_SN[slot]), lines)
        except Exception as error:  # noqa: BLE001 - it is raised again in the parent
            error.add_note("in a loader's process:\n" + traceback.format_exc())
            return Answer(Raised(_sendable(error)), lines)


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
