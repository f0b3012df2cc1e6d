"""What a process shows while it works: log lines and tables, also in run.log, and a progress bar. Rank 0 only."""

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from videoadapt import distributed, logger
from videoadapt.paths import check_regular
from videoadapt.terminal import stop_if_pressed, visible


class _Screen(Console):
    """Rich's own sequences reach the terminal; what is shown with them comes through `visible`."""

    @property  # type: ignore[misc]  # nobody sets it
    def file(self) -> Any:
        """The stream that obeys."""
        stream = super().file
        return getattr(stream, "obeyed", stream)


# names of files and settings are shown as they are: `[b] :x:`
console = _Screen(stderr=True, markup=False, emoji=False)
PLAIN_LINE_EVERY_SEC = 10.0
# The time left goes by the last 1,000 steps (rich keeps no more), validations with them, within this.
_PACE_OF_SEC = 3600.0
_WIDE = 100  # columns: from here on there is room for a bar beside the numbers of a training


class _RunLog(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """On a full disk a line is lost here, and stands on the terminal: no traceback for each."""


def setup_logging(folder: Path | None = None) -> None:
    """Send log lines to the terminal and, when `folder` is given, to `folder/run.log`; other ranks only warn."""
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.INFO if distributed.is_main() else logging.WARNING)
    screen: logging.Handler
    if console.is_terminal:
        screen = RichHandler(console=console, show_path=False, log_time_format="%H:%M:%S", highlighter=None)
    else:
        screen = logging.StreamHandler()
        screen.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logger.addHandler(screen)
    if folder is not None and distributed.is_main():
        check_regular(folder / "run.log")
        file = _RunLog(folder / "run.log", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(file)
    for handler in logger.handlers:
        handler.addFilter(_made_visible)


def _made_visible(record: logging.LogRecord) -> bool:
    record.msg, record.args = visible(record.getMessage()), ()
    return True


@contextmanager
def only_warnings() -> Iterator[None]:
    """Log warnings alone during the block, as where what was said before is done a second time."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def each_line_once() -> Iterator[None]:
    """Leave lines out during the block that it has logged before, as where many runs are looked at that share their lists."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text in said:
            return False
        said.add(text)
        return True

    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def announce(text: str) -> None:
    """A line that a person needs to see: in the log, and on the terminal where nobody set the log up."""
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s", text)
    elif distributed.is_main():
        console.print(visible(text), soft_wrap=True)


def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table to the terminal and to the log file, first column left, the others right."""
    if not distributed.is_main():
        return
    table = Table(title=visible(title), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*map(visible, row))
    console.print(table)
    plain = io.StringIO()
    Console(width=100, file=plain, markup=False, emoji=False).print(table)
    note_in_file(plain.getvalue())


def note_in_file(text: str) -> None:
    """Write lines to the log file alone."""
    record = logging.makeLogRecord({"levelno": logging.INFO, "levelname": "INFO", "msg": f"\n{text}"})
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def duration(seconds: float) -> str:
    """About how long, for people: 40 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class ProgressLine:
    """What `progress` hands out: `advance` it with a short status."""

    def __init__(self, title: str, total: int, unit: str, bar: Progress | None):
        self._title, self._total, self._unit = title, total, unit
        self._bar = bar
        self._task = bar.add_task(visible(title), total=total, status="") if bar else None
        self._done = 0
        # what was done at the first advance, and when: it has the start-up
        self._paced_from: tuple[int, float] | None = None
        self._last_line = time.monotonic()

    def start_at(self, done: int) -> None:
        """Count `done` as finished earlier: it says nothing about the speed."""
        self._done = done
        if self._bar and self._task is not None:
            self._bar.reset(self._task, completed=done)

    def advance(self, status: str = "", count: int = 1) -> None:
        """Move on by `count` and show `status`; away from a terminal, write a plain line now and then."""
        stop_if_pressed()
        self._done += count
        if self._bar and self._task is not None:
            self._bar.update(self._task, advance=count, status=visible(status))
            return
        now = time.monotonic()
        self._paced_from = self._paced_from or (self._done, now)
        if distributed.is_main() and (now - self._last_line > PLAIN_LINE_EVERY_SEC or self._done == self._total):
            self._last_line = now
            logger.info("%s %d/%d %s  %s%s", self._title, self._done, self._total, self._unit, status, self._left(now))

    def _left(self, now: float) -> str:
        """How long the rest takes at the pace since the first advance; "" at that one, and at the end."""
        done, since = self._paced_from or (self._done, now)
        if self._done >= self._total or self._done == done:
            return ""
        seconds = (now - since) / (self._done - done) * (self._total - self._done)
        return f"  {duration(seconds)} left"


@contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[ProgressLine]:
    """A progress bar on a terminal, plain lines elsewhere, nothing on other ranks."""
    if not total or not (console.is_terminal and distributed.is_main() and sys.stderr.isatty()):
        yield ProgressLine(title, total, unit, None)
        return
    # the numbers need the room of a narrow terminal, and the status alone is cut where they do not suffice either
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        *([BarColumn(bar_width=20)] if console.width >= _WIDE else []),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
    )
    # what goes to a pipe stays what it is: rich would write it to the terminal
    with Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        expand=True,
        speed_estimate_period=_PACE_OF_SEC,
    ) as bar:
        yield ProgressLine(title, total, unit, bar)
