"""Readers beside one another without a loader: the most that anything could get out of so many processes."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from videoadapt.processes.worker import Lost, Started, Worker
from videoadapt.registry.transfer import transferable

_TOGETHER_SEC = 0.5  # from the last process that has started to the moment at which all begin


def items_per_sec(read: Callable[[Any], object], items: Sequence[Any], workers: int, seconds: float) -> float:
    """What `workers` processes read together in a second, each its own part of the items, again and again.

    Each reads its part once, or for a third of the time, before the time counts: a process remembers its files.
    """
    function = partial(_read_on, transferable(read), seconds)
    running: list[Worker[Any, float]] = [Worker(function, 3 * seconds + 300) for _ in range(workers)]
    try:
        for worker in running:
            worker.receive()  # Started
        begin = time.time() + _TOGETHER_SEC
        for number, worker in enumerate(running):
            worker.send((begin, items[number % len(items) :: workers] or items))
        rates = [worker.receive() for worker in running]
    finally:
        for worker in running:
            worker.kill()
            worker.join()
    return sum(_rate(rate) for rate in rates)


def _rate(answer: float | Lost | Started) -> float:
    if not isinstance(answer, float):
        raise RuntimeError(f"a reader gave no answer: {answer}")
    return answer


def _read_on(read: Callable[[Any], object], seconds: float, begin_and_items: tuple[float, Sequence[Any]]) -> float:
    """Items a second of this process."""
    torch.set_num_threads(1)
    begin, items = begin_and_items
    for item in items:
        read(item)
        if time.time() > begin + seconds / 3:
            break
    while time.time() < begin + seconds / 3:
        time.sleep(0.001)
    count, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        read(items[count % len(items)])
        count += 1
    return count / took
