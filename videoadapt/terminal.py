"""What reaches a terminal from names that others chose: letters, and no commands to the terminal. And its Ctrl-C.

An escape sequence in the name of a class or a file could move the cursor over what was said, change the window's title or
turn the order of letters round.
"""

import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

# All of C0 but tab and newline, delete, C1 (where 9B begins a sequence), signs of writing direction, and rarer ends of a line.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""The text with what a terminal would obey as JSON writes it: \u001b. Newlines and tabs stay."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Visible:
    """A text stream that shows commands to a terminal instead of passing them on; `obeyed` is the stream itself."""

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


@contextmanager
def no_commands_to_the_terminal() -> Iterator[None]:
    """During the block, what is written to stdout and stderr is shown and not obeyed."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Visible(getattr(stream, "obeyed", stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


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
