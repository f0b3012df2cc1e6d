"""What reaches a terminal from names that others chose: letters, and no commands to the terminal. And its Ctrl-C.

An escape sequence in the name of a class or a file could move the cursor over what was said, change the window's title or
turn the order of letters round. Where output goes to a full disk, or nowhere, results that are lost are an error, and messages
are not.
"""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

# All of C0 but tab and newline, delete, C1 (where 9B begins a sequence), signs of writing direction, and rarer ends of a line.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""The text with what a terminal would obey as JSON writes it: \u001b. Newlines and tabs stay."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Visible:
    """A text stream that shows commands to a terminal instead of passing them on; `obeyed` is one that obeys them."""

    def __init__(self, stream: Any):
        self.obeyed = stream

    def write(self, text: str) -> int:
        """See io.TextIOBase."""
        self.obeyed.write(visible(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """See io.IOBase."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.obeyed, name)


class Output:
    """A text stream of the process; what does not reach it is an OSError that names it, or is `lost` without a word.

    The disk that it is sent to may be full, and the terminal closed. A reader that went away is a BrokenPipeError always.
    """

    def __init__(self, stream: Any, name: str, *, lost: bool):
        self._stream, self._name, self._lost = stream, name, lost

    def write(self, text: str) -> int:
        """See io.TextIOBase."""
        with self._said():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """See io.IOBase."""
        with self._said():
            self._stream.flush()

    def give_up(self) -> None:
        """Try what is not written yet once more: when Python ends, its failure would be the exit code."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            pass  # it is answered for by who called the command
        except OSError:
            with suppress(OSError, ValueError):  # of no open file
                forget(self._stream.fileno())

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if not self._lost:
                error.filename = self._name
                raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forget(descriptor: int) -> None:
    """Let what is written to this open file go nowhere from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def open_closed_streams() -> None:
    """Give a process that was started without input, output or messages (`>&-`) ones that go nowhere.

    Else the next files that are opened take their numbers, and FFmpeg's messages would be written into them.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(nowhere, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # as Python leaves those that it does not find
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as Python runs


@contextmanager
def no_commands_to_the_terminal() -> Iterator[None]:
    """During the block, what is written to stdout and stderr is shown and not obeyed."""
    before = sys.stdout, sys.stderr
    if isinstance(before[0], Visible):  # within another such block
        yield
        return
    output, messages = (Output(sys.stdout, "standard output", lost=False), Output(sys.stderr, "messages", lost=True))
    sys.stdout, sys.stderr = Visible(output), Visible(messages)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        output.give_up()
        messages.give_up()


_pressed: list[int] = []  # each Ctrl-C that raised KeyboardInterrupt in this command
_AGAIN_AFTER_SEC = 0.01
_LOOK_AFTER_SEC, _HEARD_AFTER_SEC = 0.001, 0.1


class RaisedAgain:
    """A block in which an exception of this `kind`, which a handler of signals raises, is raised again where Python drops it.

    It has to, in a finalizer or in the callback of a weak reference (every import has one). The handler raises only where it
    `may_raise`; `press` sends its signal once more, a moment later, from another thread.
    """

    def __init__(self, kind: type[BaseException], press: Callable[[], object]):
        self._kind, self._press = kind, press
        self._ended = False
        self._raised: bool | None = None  # by the signal that was sent last; None: its handler was not called yet
        self._again: list[threading.Thread] = []

    def may_raise(self, frame: FrameType | None) -> bool:
        """Not after the block, nor while one is being dropped in the interrupted `frame`: that would be dropped unheard."""
        self._raised = not self._ended and not self._is_dropping(frame)
        return self._raised

    def __enter__(self) -> Self:
        self._say, sys.unraisablehook = sys.unraisablehook, self._dropped
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        for thread in self._again:
            thread.join()
        sys.unraisablehook = self._say

    def _is_dropping(self, frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code is not self._dropped.__code__:
            frame = frame.f_back
        return frame is not None

    def _dropped(self, what: "sys.UnraisableHookArgs") -> None:
        if what.exc_type is not self._kind:
            self._say(what)
            return
        self._raised = None
        self._again.append(threading.Thread(target=self._press_until_raised))
        self._again[-1].start()

    def _press_until_raised(self) -> None:
        time.sleep(_AGAIN_AFTER_SEC)
        while not (self._raised or self._ended):
            self._raised = None
            self._press()
            # One that comes as the program begins to wait in a call of the system is handled after it, unless another wakes it.
            given_up = time.monotonic() + _HEARD_AFTER_SEC
            while self._raised is None and not self._ended and time.monotonic() < given_up:
                time.sleep(_LOOK_AFTER_SEC)


@contextmanager
def ctrl_c_noted() -> Iterator[Sequence[int]]:
    """Ctrl-C raises KeyboardInterrupt, as Python does, and is noted: native code swallows one in an import that then fails."""
    _pressed.clear()
    ours = threading.current_thread() is threading.main_thread()
    # another handler is a notebook's, or none is wanted (nohup)
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield _pressed
        return
    again = RaisedAgain(KeyboardInterrupt, lambda: press(signal.SIGINT))

    def handle(number: int, frame: FrameType | None) -> None:
        if again.may_raise(frame):
            _pressed.append(number)
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    try:
        with again:
            yield _pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _pressed.clear()


def press(number: int) -> None:
    """Send a signal to the main thread, from another one; also where it waits in a call of the system."""
    if hasattr(signal, "pthread_kill"):  # not on Windows, where it makes no difference which thread gets it
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def stop_if_pressed() -> None:
    """Raise KeyboardInterrupt when one was swallowed: for loops that would go on for long."""
    if _pressed:
        raise KeyboardInterrupt
