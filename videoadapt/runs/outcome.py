"""outcome.json in a run's folder: how the last run there ended, as data that programs read instead of log lines."""

import os
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import TypeAdapter, ValidationError

from videoadapt import distributed, logger
from videoadapt.errors import Diverged, Interrupted, VideoAdaptError
from videoadapt.files import write_json
from videoadapt.processes.signals import Ended
from videoadapt.runs.records import Shape, first_of, read_record
from videoadapt.runs.shapes import Moment

FILE_NAME = "outcome.json"


class Outcome(StrEnum):
    """How a run ended."""

    RUNNING = "running"  # it has not: it runs, or was killed before it could write more
    FINISHED = "finished"
    STOPPED = "stopped"  # by `signal`; the same command resumes it
    DIVERGED = "diverged"  # in update `step`, or the validation after it
    FAILED = "failed"  # with `error`


@dataclass(frozen=True)
class OutcomeRecord:
    """The content of outcome.json. Times are seconds since 1970."""

    outcome: Outcome
    began: Moment
    host: str
    pid: int
    command: list[str]
    ended: Moment | None = None
    signal: str | None = None  # "SIGTERM"
    step: int | None = None  # updates done when it stopped, or number of the update that diverged, from 0
    phase: Literal["training", "validation"] | None = None
    stopped_early_at: int | None = None  # updates done when train.stop_early ended a training that is finished by that
    error: str | None = None  # the name of its class
    message: str | None = None


_RECORDS = TypeAdapter(OutcomeRecord)


def read_outcome(folder: Path) -> OutcomeRecord | None:
    """The record in a run's folder; None without one. Raises VideoAdaptError when the file holds something else."""
    values = read_record(folder / FILE_NAME, Shape, "delete it")
    if values is None:
        return None
    try:
        return _RECORDS.validate_python(values)
    except ValidationError as error:
        raise VideoAdaptError(
            f"{folder / FILE_NAME}: is not the outcome of a run: {first_of(error)}; delete it"
        ) from error


class OutcomeRecorder:
    """Keeps outcome.json true around a run, on all ranks, for the process that holds the folder's lock.

    What an earlier run left is replaced before the block begins, so that it is never taken for this run's. The first rank
    that fails says why: its end makes the others fail as well. Raises OSError when the file cannot be written at the start,
    or at the end of a block without an error.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def __enter__(self) -> Self:
        own = OutcomeRecord(Outcome.RUNNING, time.time(), socket.gethostname(), os.getpid(), sys.argv)
        self._running: OutcomeRecord = distributed.all_gather_objects(own)[0]
        distributed.on_main(self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close(error)
        except (Ended, KeyboardInterrupt):  # in the middle of it: what had ended before is still to be said
            self._close(error)
            raise

    def _close(self, error: BaseException | None) -> None:
        if error is None:
            if distributed.is_main() and (record := self._open_record()):
                self._end(record, Outcome.FINISHED)
            return
        try:
            if record := self._open_record():
                self._end(record, **_how(error))
        except (OSError, VideoAdaptError) as second:  # a full disk may be what ended the run; its own error says more
            logger.warning("%s: cannot be written: %s", self._folder / FILE_NAME, second)

    def _open_record(self) -> OutcomeRecord | None:
        """The record of this run, until a rank has said how it ended."""
        record = read_outcome(self._folder)
        is_open = record is not None and replace(record, stopped_early_at=None) == self._running
        return record if is_open else None

    def _begin(self) -> None:
        (self._folder / FILE_NAME).unlink(missing_ok=True)  # gone even when the disk has no room for another
        _write(self._folder, self._running)

    def _end(self, record: OutcomeRecord, outcome: Outcome, **values: Any) -> None:
        _write(self._folder, replace(record, outcome=outcome, ended=time.time(), **values))


def note_early_stop(folder: Path, step: int) -> None:
    """Have the record of the run under way say that its training ended early, after `step` updates; all ranks call it."""

    def note() -> None:
        record = read_outcome(folder)
        if record is not None and record.outcome == Outcome.RUNNING:
            _write(folder, replace(record, stopped_early_at=step))

    distributed.on_main(note)


def _write(folder: Path, record: OutcomeRecord) -> None:
    values = {name: value for name, value in asdict(record).items() if value is not None}
    write_json(folder / FILE_NAME, values)


def _how(error: BaseException) -> dict[str, Any]:
    """The values of a record that an error decides."""
    message = {"message": str(error)}
    if isinstance(error, Diverged):
        return {"outcome": Outcome.DIVERGED, "step": error.step, "phase": error.phase, **message}
    if isinstance(error, Interrupted):
        name = signal.Signals(error.number).name
        return {"outcome": Outcome.STOPPED, "signal": name, "step": error.step, **message}
    if isinstance(error, Ended):
        return {"outcome": Outcome.STOPPED, "signal": signal.Signals(error.number).name}
    if isinstance(error, KeyboardInterrupt):
        return {"outcome": Outcome.STOPPED, "signal": "SIGINT"}
    return {"outcome": Outcome.FAILED, "error": type(error).__name__, **message}
