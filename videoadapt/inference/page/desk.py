"""Where films wait for their turn. One is looked at at a time, in a process that is made anew when a film ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from videoadapt.errors import VideoAdaptError
from videoadapt.inference.page.limits import Limits
from videoadapt.inference.page.looking import Looker, Question, Refused, progress_of
from videoadapt.processes.worker import Lost, Started, Worker
from videoadapt.registry.transfer import transferable

LOOK_EVERY_SEC, SAY_EVERY_SEC = 0.05, 0.5
State: TypeAlias = dict[str, Any]


class Full(Exception):
    """As many films wait as may."""


class Desk:
    """A line of films, and the process that looks at the first of them. `close` it."""

    def __init__(self, looker: Looker, limits: Limits):
        self._looker, self._limits = transferable(looker), limits
        self._taken = 0  # places, of films that are uploaded still, too
        self._line: list[Path] = []
        self._has: Path | None = None  # what the process works on
        self._worker = self._start()

    def who(self) -> State:
        """Who answers, once the models are opened. Raises VideoAdaptError where they cannot be."""
        self._worker.send(None)
        while isinstance(said := self._worker.receive(), Started):
            pass
        if isinstance(said, dict):
            return said
        raise VideoAdaptError(said.reason)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place, from the upload to the answer. Raises Full."""
        if self._taken > self._limits.max_waiting:
            raise Full
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @contextmanager
    def line(self, film: Path) -> Iterator[None]:
        """Stand in the line. Who leaves it early, because nobody listens any more, ends the work that was begun."""
        self._line.append(film)
        try:
            yield
        finally:
            self._line.remove(film)
            if self._has == film:
                self._replace()

    async def answer(self, asked: Question, is_closing: Callable[[], bool]) -> AsyncIterator[State]:
        """How things stand, each time that it changes or half a second has passed; at last `answer` or `error`."""
        film = asked.film
        while ahead := self._line.index(film):
            yield {"ahead": ahead}
            await _while(lambda: self._line.index(film) == ahead and not is_closing())
            if is_closing():
                yield {"error": "the page is being closed"}
                return
        while self._worker.pipe.poll():  # it has begun, or ended with nothing to do, for want of memory perhaps
            if isinstance(self._worker.receive(), Lost):
                self._replace()
        self._worker.send(asked)
        self._has = film
        said: State | Lost | Refused | Started = Started()
        while isinstance(said, Started):
            while not self._worker.pipe.poll():
                yield {"ahead": 0, "windows": _progress(film)}
                await _while(lambda: not (self._worker.pipe.poll() or is_closing()))
                if is_closing():
                    yield {"error": "the page is being closed"}
                    return
            said = self._worker.receive()
        if isinstance(said, Lost):
            self._replace()
        self._has = None
        yield {"answer": said} if isinstance(said, dict) else {"error": _why(said)}

    def close(self) -> None:
        """End the process."""
        self._worker.kill()
        self._worker.join()

    def _start(self) -> "Worker[Question | None, State | Refused]":
        return Worker(self._looker, self._limits.work_sec)

    def _replace(self) -> None:
        self._has = None
        self.close()
        self._worker = self._start()


async def _while(waits: Callable[[], bool]) -> None:
    """Wait, and look whether to wait on, for SAY_EVERY_SEC at most."""
    for _ in range(round(SAY_EVERY_SEC / LOOK_EVERY_SEC)):
        if not waits():
            return
        await asyncio.sleep(LOOK_EVERY_SEC)


def _progress(film: Path) -> list[int] | None:
    """Windows looked at, and how many there are; None before the first."""
    with suppress(OSError, ValueError):
        done, total = map(int, progress_of(film).read_text(encoding="ascii").split())
        return [done, total]
    return None


def _why(said: Lost | Refused) -> str:
    if isinstance(said, Refused):
        return said.reason
    if said.overtime:
        return f"looking at it {said.reason}; try a shorter film"
    return f"{said.reason}: the film is probably damaged. Others can be looked at as before"
