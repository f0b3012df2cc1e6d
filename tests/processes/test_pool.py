"""Who gets which item, and the memory that what was read of it lies in."""

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.items import read
from videoadapt.processes.pool import WorkerPool
from videoadapt.processes.slots import Slots, put


def test_half_of_the_items_lie_with_the_workers_and_half_wait(tmp_path: Path) -> None:
    pool: WorkerPool[str, str, Any] = WorkerPool(read, 2, Slots(24, 40), 60.0, file=lambda item: item)
    try:
        tasks = pool.begin([f"2:waiting for {tmp_path}/end", *["2"] * 23], 0)
        at_hand = [len(has) for has in pool._has.values()]
        assert at_hand == [6, 6]
        # the other one reads on meanwhile: what lies with the slow one is all that is left
        while sum(task.result is None for task in tasks) > 6:
            pool.work()
        (tmp_path / "end").touch()
        while any(task.result is None for task in tasks):
            pool.work()
    finally:
        pool.stop()


class Cudart:
    """CUDA's runtime: what was pinned, or the error with which it refuses."""

    def __init__(self, error: int):
        self.error, self.pinned, self.released = error, [], []

    def cudaHostRegister(self, start: int, size: int, flags: int) -> int:
        self.pinned.append((start, size))
        return self.error

    def cudaHostUnregister(self, start: int) -> None:
        self.released.append(start)


@pytest.mark.parametrize("error", [0, 801])
def test_memory_is_pinned_for_as_long_as_it_is_there(
    error: int, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    cudart, calls = Cudart(error), []
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(
        cudart=lambda: cudart, device=torch.device, synchronize=lambda device: calls.append(len(cudart.released))
    ))  # fmt: skip
    slots = Slots(3, 40)
    start = slots.bytes_SN.data_ptr()
    slots.pin(torch.device("cpu"))
    assert cudart.pinned == [(start, 120)] and not cudart.released
    del slots
    gc.collect()
    # whoever refused has nothing to give back; else first come the copies that are on their way
    assert (cudart.released, calls) == (([], []) if error else ([start], [0]))
    assert [line for line in log_lines if "cannot be pinned (CUDA error 801)" in line] == log_lines
    assert len(log_lines) == bool(error)


def test_pixels_that_do_not_fit_their_slot_are_refused() -> None:
    slots = Slots(2, 4)
    with pytest.raises(ValueError, match=r"uint8 \(5, 2\) does not fit into 4 bytes"):
        put(read("5"), slots.bytes_SN[0])
    assert slots.bytes_SN.tolist() == [[0] * 4] * 2
