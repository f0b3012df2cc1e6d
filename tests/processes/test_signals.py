"""Signals that would kill a process end a block once, so that it can say how it ended."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import FrameType

import pytest

from videoadapt import terminal
from videoadapt.errors import Interrupted
from videoadapt.processes.signals import Ended, end_on_signal, ended_by_signal, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP])
def test_the_first_signal_ends_the_block_and_no_later_one(number: signal.Signals) -> None:
    written, before = [], signal.signal(number, signal.SIG_DFL)  # these tests may have been started by nohup
    try:
        with pytest.raises(Ended, match=number.name), ended_by_signal():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                written.append("how it ended")
        assert written and signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_is_ignored_stays_so_and_a_loop_stops_by_itself() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with ended_by_signal(), pytest.raises(Interrupted), stop_on_signal() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            raise Interrupted("stopped", received[0])
        assert received == [signal.SIGTERM] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("around", [ended_by_signal, partial(end_on_signal, acts=True, leaves=False)])
def test_a_signal_that_comes_after_the_stop_is_ignored(around: Callable[[], AbstractContextManager[None]]) -> None:
    """Ranks stop together when one has got it: the rank that gets it last was ended in the middle of requeueing its job."""
    before = signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    try:
        with around():
            with pytest.raises(Interrupted, match="at step 7"), stop_on_signal():
                raise Interrupted("stopped at step 7", signal.SIGUSR2, 7)
            os.kill(os.getpid(), signal.SIGUSR2)
        with pytest.raises(Ended), around():
            with stop_on_signal():
                pass
            os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_signal_that_was_not_acted_upon_is_sent_again() -> None:
    """One that came while a training wrote its last checkpoint was lost, and the test after it ran into the time limit."""
    with end_on_signal(acts=True, leaves=False):
        with pytest.raises(Ended, match="SIGUSR2"), stop_on_signal():
            for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM):
                os.kill(os.getpid(), number)
        with pytest.raises(OSError, match="full"), stop_on_signal():  # what ended the block says more
            os.kill(os.getpid(), signal.SIGTERM)
            raise OSError("the disk is full")
    with end_on_signal(acts=False, leaves=False), stop_on_signal():
        os.kill(os.getpid(), signal.SIGTERM)


class Sends:
    """Sends SIGTERM when it is let go, where Python can pass no exception on."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("again_after_sec", [terminal._AGAIN_AFTER_SEC, 0.0])  # soon: while it is still being dropped
@pytest.mark.parametrize("around", [ended_by_signal, partial(end_on_signal, acts=True, leaves=False)])
def test_a_signal_that_python_drops_is_heard(
    around: Callable[[], AbstractContextManager[None]], again_after_sec: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a finalizer, or when an import lets go of its lock: a test went on to its end, deaf to all that came later."""
    monkeypatch.setattr(terminal, "_AGAIN_AFTER_SEC", again_after_sec)
    before, began = signal.signal(signal.SIGTERM, signal.SIG_DFL), time.monotonic()
    hook = sys.unraisablehook
    try:
        with pytest.raises(Ended, match="SIGTERM"), around():
            thing = Sends()
            del thing
            time.sleep(60)
        assert time.monotonic() - began < 30, "it slept to the end"
        assert sys.unraisablehook is hook and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        with around():
            thing = Sends()
            del thing
        time.sleep(0.1)  # what would have come again, and would kill
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_that_was_dropped_is_sent_until_it_is_heard() -> None:
    """One that came as the program began to sleep was handled after the sleep."""
    sent: list[float] = []

    def press() -> None:
        sent.append(time.monotonic())
        if len(sent) > 2:
            terminal.press(signal.SIGTERM)

    again = terminal.RaisedAgain(Ended, press)

    def handle(number: int, frame: FrameType | None) -> None:
        if again.may_raise(frame):
            raise Ended(number)

    before, began = signal.signal(signal.SIGTERM, handle), time.monotonic()
    try:
        with pytest.raises(Ended), again:
            thing = Sends()
            del thing
            time.sleep(60)
        assert time.monotonic() - began < 30 and len(sent) >= 3  # more, where it was heard late
    finally:
        signal.signal(signal.SIGTERM, before)


WRITES_WHEN_SIGNALLED = """
import logging, sys
from videoadapt import logger
from videoadapt.processes.signals import end_on_signal, stop_on_signal

logger.addHandler(logging.StreamHandler())
with end_on_signal(acts=False, leaves=False), stop_on_signal() as received:
    print("ready", flush=True)
    sys.stderr.write("x" * 1_000_000)
    sys.stderr.flush()
print(len(received), flush=True)
"""


def test_a_signal_in_the_middle_of_a_write_only_asks() -> None:
    """Python refuses a write to stderr in a handler that interrupts one: it would end the training with an error."""
    command, pipe = [sys.executable, "-c", WRITES_WHEN_SIGNALLED], subprocess.PIPE
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=buffered) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert process.stderr is not None
        while _waiting(process.stderr.fileno()) < 60_000:  # the pipe holds 65,536, and nobody reads it yet
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGUSR2)
        time.sleep(0.2)
        said, complained = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "1\n"), complained.strip("x")
    assert complained.strip("x").strip() == "SIGUSR2: stopping after this step; Ctrl-C once more stops at once"


def _waiting(pipe: int) -> int:
    """Bytes that were written to a pipe and not read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"0000"), sys.byteorder)
