"""One item is made ahead in a thread, which ends with the iteration, however that ends."""

import gc
import queue
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from videoadapt.data.loader import CPU
from videoadapt.data.one_ahead import one_ahead


class Made:
    """An item that can be watched."""


def nothing() -> None:
    """Wakes nobody."""


def its_threads() -> list[threading.Thread]:
    """Those that make items."""
    return [thread for thread in threading.enumerate() if thread.name == "one ahead"]


def has_come(true: Callable[[], bool]) -> bool:
    """Wait for something that is to be true soon."""
    until = time.monotonic() + 20
    while not true() and time.monotonic() < until:
        time.sleep(0.005)
    return true()


def test_the_next_one_is_made_and_no_other() -> None:
    begun: queue.SimpleQueue[int] = queue.SimpleQueue()

    def items() -> Iterator[int]:
        for number in range(5):
            begun.put(number)
            yield number

    made = one_ahead(items(), nothing, CPU)
    time.sleep(0.05)
    assert begun.empty()
    used = []
    for number in made:
        used.append(number)
        if number == 0:
            assert begun.get(timeout=20) == 0
        if number < 4:
            assert begun.get(timeout=20) == number + 1
        time.sleep(0.05)
        assert begun.empty()
    assert used == list(range(5)) and not its_threads()


def test_two_are_in_memory_at_most() -> None:
    living: weakref.WeakSet[Made] = weakref.WeakSet()
    most = 0

    def items() -> Iterator[Made]:
        nonlocal most
        for _ in range(5):
            item = Made()
            living.add(item)
            most = max(most, len(living))
            yield item
            del item

    made = one_ahead(items(), nothing, CPU)
    for _ in range(4):
        item = next(made)
        del item
        assert has_come(lambda: len(living) == 1)  # the next one, and the last is not kept
    for item in made:
        del item
    assert most <= 2 and not living


def test_an_exception_is_raised_in_its_place_and_kept_by_nobody() -> None:
    frames: weakref.WeakSet[Made] = weakref.WeakSet()

    def items() -> Iterator[Made]:
        here = Made()
        frames.add(here)
        yield Made()
        yield Made()
        raise ZeroDivisionError("of the third")

    gc.disable()
    try:
        made = one_ahead(items(), nothing, CPU)
        for _ in range(2):
            frames.add(next(made))
        with suppress(StopIteration):
            try:
                next(made)
            except ZeroDivisionError as error:
                said = "".join(traceback.format_exception(error))
            next(made)
        assert not frames
    finally:
        gc.enable()
    assert 'raise ZeroDivisionError("of the third")' in said and not its_threads()


@pytest.mark.parametrize("how", ["close", "raise", "drop"])
def test_who_waits_is_woken_and_ends(how: str) -> None:
    waking: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    waiting = threading.Event()

    def items() -> Iterator[str]:
        yield "first"
        waiting.set()
        while (got := waking.get()) is not None:
            yield got

    made = one_ahead(items(), lambda: waking.put(None), CPU)
    assert next(made) == "first" and waiting.wait(20)
    if how == "close":
        made.close()
    elif how == "raise":
        with pytest.raises(ZeroDivisionError), closing(made):
            raise ZeroDivisionError
    else:
        del made
    assert not its_threads()


def test_its_own_thread_may_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the garbage collector may, where it is that thread's turn."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    kept: list[Iterator[int]] = []
    go_on = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        go_on.wait(20)
        kept.clear()
        yield 2

    kept.append(one_ahead(items(), nothing, CPU))
    assert next(kept[0]) == 1
    go_on.set()
    assert has_come(lambda: not its_threads()) and not kept and not unraisable
