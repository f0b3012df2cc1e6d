"""A logger in a process of its own, which reads metrics.jsonl as it grows: whatever it does, the run goes on.

The file is what it is fed with, so that it cannot get other numbers, and a server that hangs holds up nobody.
"""

import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeAlias

from videoadapt.files import as_record, write_json
from videoadapt.processes.signals import known_here, take_signals
from videoadapt.registry import LOGGERS
from videoadapt.runs.loggers import Beginning, Logger, Record
from videoadapt.runs.outcome import OutcomeRecord
from videoadapt.system import WINDOWS

Pipe: TypeAlias = "connection.Connection[Any, Any]"
LOOK_EVERY_SEC = 1.0
_LONGEST = 300  # letters of another package's error


@dataclass(frozen=True)
class Ending:
    """The last that a logger hears of a run: its tests, if there were any, and how it ended."""

    tests: tuple[Record, ...]
    outcome: OutcomeRecord | None


def follow(spec: dict[str, Any], run: Beginning, environ: dict[str, str], pipe: Pipe) -> None:
    """In a process of its own: log what `run` writes until an Ending comes, or the run's process is gone.

    What it says at the end is None, or the error that ended it. No signal ends it: a scheduler's are for all processes of a
    job, and it has yet to hear how the run ends.
    """
    for number in known_here("SIGINT", "SIGTERM", "SIGUSR2", "SIGHUP"):
        signal.signal(number, signal.SIG_IGN)
    if not WINDOWS:
        os.setsid()
    take_signals()
    os.environ.update(environ)  # what was set in Python after the server of processes had begun, such as WANDB_MODE
    said: str | None = None
    try:
        _to_file(log_of(run.folder, spec["name"]))
        _log_all(spec, run, pipe)
    except Exception as error:  # noqa: BLE001 - whatever another package raises costs the logger, and never the run
        said = shown(error)
        with suppress(OSError):  # a full disk may be the error
            traceback.print_exc()
    with suppress(OSError):
        pipe.send(said)


def shown(error: Exception) -> str:
    """Another package's error in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)}"[:_LONGEST]


def log_of(folder: Path, name: str) -> Path:
    """Where a logger's process writes what its package says."""
    return folder / "loggers" / f"{name}.log"


def _to_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file, open(os.devnull, "rb") as nothing:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
        os.dup2(nothing.fileno(), 0)  # a package that asks for a password is not to wait for one


def _log_all(spec: dict[str, Any], run: Beginning, pipe: Pipe) -> None:
    logger = LOGGERS.build(spec)
    place = Place(run.folder / "loggers" / f"{spec['name']}.json", spec, run)
    place.begin(logger)
    metrics = Tail(run.folder / "metrics.jsonl", place.num_sent)
    while not pipe.poll(LOOK_EVERY_SEC):
        place.send(logger, metrics.new())
    try:
        ending: Ending = pipe.recv()
    except EOFError:
        ending = Ending((), None)
    place.send(logger, metrics.new())
    if ending.tests:
        logger.add(list(ending.tests))
    logger.end(ending.outcome)


class Tail:
    """The records of a growing metrics.jsonl, without the first `num_sent`."""

    def __init__(self, path: Path, num_sent: int):
        self._path, self._skip, self._offset = path, num_sent, 0

    def new(self) -> list[Record]:
        """Those that are whole and were not there at the last call."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = whole.splitlines()
        skipped, self._skip = self._skip, max(0, self._skip - len(lines))
        return [as_sent(record) for line in lines[skipped:] if (record := as_record(line, "kind", "step"))]


def as_sent(record: dict[str, Any]) -> Record:
    """A line of metrics.jsonl as loggers get it."""
    values = {key: value for key, value in record.items() if key not in ("kind", "step")}
    return Record(record["kind"], record["step"], values)


class Place:
    """How far a logger has got with a run, kept in the run's folder: which run of its own it is, and how many records it has.

    A logger with other settings, and a training from the start, begin a run of their own.
    """

    def __init__(self, path: Path, spec: dict[str, Any], run: Beginning):
        self._path, self._spec = path, spec
        before = as_record(path.read_bytes(), "logger", "run", "num_records") if path.is_file() else None
        goes_on = before is not None and before["logger"] == spec and run.step > 0
        self._known = before["run"] if before is not None and goes_on else None
        # records of updates that are done once more are sent once more: they are the same, unless by force
        self.num_sent = min(before["num_records"], run.num_records) if before is not None and goes_on else 0
        self._run = replace(run, known=self._known)

    def begin(self, logger: Logger) -> None:
        """Begin, and note the name that the logger gave the run."""
        self._known = logger.begin(self._run)
        self._write()

    def send(self, logger: Logger, records: list[Record]) -> None:
        """Have these logged, and note that they were."""
        if records:
            logger.add(records)
            self.num_sent += len(records)
            self._write()

    def _write(self) -> None:
        write_json(self._path, {"logger": self._spec, "run": self._known, "num_records": self.num_sent})
