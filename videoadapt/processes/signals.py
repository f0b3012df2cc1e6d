"""Stopping after a whole step: SIGINT, SIGTERM and SIGUSR2 ask the training loop to stop; a second Ctrl-C ends the process."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from types import FrameType
from typing import Any

from videoadapt import logger
from videoadapt.errors import Interrupted
from videoadapt.system import WINDOWS
from videoadapt.terminal import RaisedAgain, press, stop_if_pressed


def known_here(*names: str) -> tuple[signal.Signals, ...]:
    """The signals of these names that the system has: Windows has SIGINT and SIGTERM."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


# From the weakest to the strongest: SIGUSR2 is Slurm's warning through submitit, and says more than a SIGTERM beside it.
ASKING = known_here("SIGINT", "SIGTERM", "SIGUSR2")
FOR_ALL = set(ASKING)  # what a terminal, Slurm or a service manager sends to every process


class Ended(BaseException):
    """A signal outside of the training loop, where there is nothing to save; no Exception, so that nothing swallows it."""

    def __init__(self, number: int):
        self.number = number
        super().__init__(signal.Signals(number).name)


class _Ends:
    """A handler that raises Ended as long as it `acts`: only for the first signal where it is to do so `once`.

    That one counts once it is heard: it is raised again, in the block `again`, where Python has to drop it.
    """

    def __init__(self, acts: bool, once: bool = False):
        self.acts, self._once = acts, once
        self._raised, self._number = False, int(signal.SIGTERM)
        self.again = RaisedAgain(Ended, self._press)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.acts and not (self._once and self._raised) and self.again.may_raise(frame):
            self._raised, self._number = True, number
            raise Ended(number)

    def _press(self) -> None:
        self._raised = False
        press(self._number)


def killed_by(number: int) -> str:
    """How a process ended that this signal killed, and what to do where it is the one that Linux sends for want of memory."""
    said = f"killed by {signal.Signals(number).name}"
    if number not in known_here("SIGKILL"):
        return said
    return f"{said}, as Linux does when memory runs out: use fewer processes (data.workers, --workers, --jobs) or more memory"


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Yield a list that fills with the numbers of SIGINT, SIGTERM and SIGUSR2 received inside the block.

    The loop looks at it after each step. A second SIGINT raises KeyboardInterrupt wherever the process is; the others may
    come more than once, for Slurm sends SIGTERM and SIGUSR2 to one job, and SIGTERM again before it kills. When the block ends
    in Interrupted, blocks around it no longer raise Ended: ranks stop together, and the signal may reach this one last. When
    it ends as if nothing had come, the strongest signal is sent again, to the handlers around it: none is lost.
    """
    received: list[int] = []
    first: SimpleQueue[int | None] = SimpleQueue()  # its `put` may interrupt itself

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        if not received:
            first.put(number)
        received.append(number)

    speaker = Thread(target=_say_first, args=(first,), daemon=True)
    speaker.start()
    try:
        with _handlers(handle) as before:
            stop_if_pressed()
            try:
                yield received
            except Interrupted:
                for outer in before.values():
                    if isinstance(outer, _Ends):
                        outer.acts = False
                raise
    finally:
        first.put(None)
        speaker.join()
    if received:
        signal.raise_signal(ASKING[priority(received) - 1])


def _say_first(first: "SimpleQueue[int | None]") -> None:
    """Log the first signal, in a thread: where a handler interrupts a write to stderr, Python raises on a second one in it."""
    if (number := first.get()) is not None:
        name = signal.Signals(number).name
        logger.warning("%s: stopping after this step; Ctrl-C once more stops at once", name)


def priority(received: list[int]) -> int:
    """Priority of the strongest signal received, its number from 1 in ASKING; 0 for none. Ranks can compare it."""
    return max((ASKING.index(signal.Signals(number)) + 1 for number in received), default=0)


@contextmanager
def end_on_signal(acts: bool, leaves: bool) -> Iterator[None]:
    """Raise Ended when a signal arrives in the block, outside of any `stop_on_signal` in it; unless it `acts`, ignore it.

    When the process `leaves` after the block, signals are ignored from then on: one would make a finished job a failed one.
    """
    ends = _Ends(acts)
    with _handlers(ends, signal.SIG_IGN if leaves else None), ends.again:
        yield


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Raise Ended when a signal that would kill the process arrives in the block, outside of any `stop_on_signal` in it.

    Only the first one does: what the block says of its end is then being written. One that is ignored stays so (nohup).
    """
    handle = _Ends(acts=True, once=True)
    deadly = [n for n in known_here("SIGTERM", "SIGUSR2", "SIGHUP") if signal.getsignal(n) == signal.SIG_DFL]
    for number in deadly:
        signal.signal(number, handle)
    try:
        with handle.again:
            yield
    finally:
        for number in deadly:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Processes started in the block ignore the terminal's Ctrl-C, unless they install a handler for it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def held_back() -> Iterator[None]:
    """Signals for all processes reach this thread after the block; a process that is started in it does not get them at all.

    It asks for them by `take_signals`, when it has said what they do.
    """
    if WINDOWS:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_signals() -> None:
    """In a process that was started in `held_back`: let signals come, also those that have waited."""
    if not WINDOWS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_ALL)


def ignore_further() -> None:
    """Ignore further signals: the process is about to end by itself."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handlers(
    handle: Callable[[int, FrameType | None], None], afterwards: signal.Handlers | None = None
) -> Iterator[dict[signal.Signals, Any]]:
    """Handle signals in the block; yield the handlers of before, which are back after it, unless others are to follow."""
    before = {number: signal.signal(number, handle) for number in ASKING}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if afterwards is None else afterwards)
