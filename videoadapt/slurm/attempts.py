"""What a job records in its folder `<run>/jobs/<job id>/`: the submission, each attempt, and who failed first in it.

An attempt is what runs between two waits in the queue. Its files are replaced or created whole, never appended to, so that
ranks on several hosts of a network file system cannot mix them up.
"""

import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from videoadapt.files import write_json
from videoadapt.paths import files_in, is_file
from videoadapt.runs.records import Shape, read_record
from videoadapt.runs.shapes import Moment


class How(StrEnum):
    """How an attempt ended."""

    FINISHED = "finished"
    TIMED_OUT = "timed_out"  # signalled shortly before its time limit
    PREEMPTED = "preempted"  # signalled with time left
    ENDED_BY_SLURM = "ended_by_slurm"  # cancelled, or requeued by someone else: Slurm decides what follows
    STOPPED = "stopped"  # signalled by a person, or by somebody unknown because Slurm did not answer
    FAILED = "failed"


class _Submitted(Shape):
    """submission.json."""

    submitted: Moment
    job_id: str
    executor: str
    ranks: int


class _Attempted(Shape):
    """attempt_N.json, which has an end once there is one; that of an earlier version is a sentence, without a message."""

    began: Moment = 0.0
    hosts: list[str] = Field([])
    ended: Moment = 0.0
    how: str = ""
    message: str = ""
    requeued: bool = False
    resubmitted_as: str = ""

    @model_validator(mode="after")
    def _has_a_known_end(self) -> Self:
        if "message" in self.model_fields_set and self.how not in set(How):
            raise ValueError(f"how = {self.how!r}: allowed: {', '.join(How)}")
        return self


class _Failed(Shape):
    """attempt_N_failure.json."""

    rank: int
    host: str
    why: str


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, the same in a sentence for people, and whether the run comes back by itself."""

    how: How
    message: str
    requeued: bool = False  # as another attempt of this job
    resubmitted_as: str = ""  # id of the job that resumes it


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job, by number from 0."""

    folder: Path
    number: int

    @property
    def path(self) -> Path:
        """The record of its beginning and its end, written by rank 0."""
        return self.folder / f"attempt_{self.number}.json"

    @property
    def failure_path(self) -> Path:
        """The record of the first rank that failed, written by that rank."""
        return self.folder / f"attempt_{self.number}_failure.json"

    def begin(self, **values: Any) -> None:
        """Record that it has begun: earlier attempts that are still running leave when they see this."""
        self._write({"attempt": self.number, "began": time.time(), "host": socket.gethostname(), **values})

    def end(self, ending: Ending) -> None:
        """Record how it ended."""
        self._write({**self.read(), "ended": time.time(), **asdict(ending)})

    def read(self) -> dict[str, Any]:
        """Its record, empty before it has begun."""
        return _read(self.path, _Attempted)

    def ending(self) -> Ending | None:
        """How it ended; None while it runs, and when it was killed without a word."""
        record, failure = self.read(), self.failure()
        if "message" in record:
            return Ending(
                How(record["how"]), record["message"], record.get("requeued", False), record.get("resubmitted_as", "")
            )
        if "how" in record:
            return _ending_in_words(record["how"])
        return Ending(How.FAILED, "failed") if failure else None

    def replaced(self) -> bool:
        """True when a later attempt has begun."""
        return any(attempt.number > self.number for attempt in attempts(self.folder))

    def note_failure(self, rank: int, why: str) -> bool:
        """Record why this rank fails, and return True, unless another one was first."""
        own = self.failure_path.with_name(f".{self.failure_path.name}.{rank}")
        values = {"rank": rank, "host": socket.gethostname(), "time": time.time(), "why": why}
        write_json(own, values)
        try:
            os.link(own, self.failure_path)  # fails where it exists: one rank is the first, whole and at once
            return True
        except FileExistsError:
            return False
        finally:
            own.unlink()

    def failure(self) -> dict[str, Any]:
        """Rank, host, time and error text of the first failure; empty when there is none."""
        return _read(self.failure_path, _Failed)

    def _write(self, values: dict[str, Any]) -> None:
        write_json(self.path, values)


def attempts(folder: Path) -> list[Attempt]:
    """All attempts of the job in `folder` that have begun, the first one first."""
    numbers = [path.stem.removeprefix("attempt_") for path in folder.glob("attempt_*.json")]
    return [Attempt(folder, number) for number in sorted(int(number) for number in numbers if number.isdigit())]


def job_folders(run: Path) -> list[Path]:
    """Folders of a run's jobs, the newest submission last."""
    found = [path for path in files_in(run / "jobs", "*") if is_file(path / "submission.json")]
    return sorted(found, key=lambda path: float(read_submission(path)["submitted"]))


def read_submission(folder: Path) -> dict[str, Any]:
    """What was submitted: executor, ranks, time, code."""
    return _read(folder / "submission.json", _Submitted)


def write_submission(folder: Path, **values: Any) -> None:
    """Record what was submitted."""
    write_json(folder / "submission.json", {"submitted": time.time(), **values})


def _ending_in_words(said: str) -> Ending:
    """The ending in the file of an earlier version, whose `how` is a sentence."""
    if said == "finished":
        return Ending(How.FINISHED, said)
    words = {
        "reached its time limit": How.TIMED_OUT,
        "pre-empted": How.PREEMPTED,
        "ended by Slurm": How.ENDED_BY_SLURM,
        "stopped by": How.STOPPED,
    }
    how = next((how for phrase, how in words.items() if phrase in said), How.FAILED)
    return Ending(how, said, "is back in the queue" in said, said.partition(" goes on as job ")[2])


def _read(path: Path, shape: type[Shape]) -> dict[str, Any]:
    return read_record(path, shape, "delete it, and nothing is known of that attempt") or {}


def note_job(run: Path, folder: Path, **values: Any) -> None:
    """Record what was submitted in the job's folder, and link that in `<run>/jobs` where it lies elsewhere."""
    write_submission(folder, **values)
    own = run / "jobs" / folder.name
    if own.resolve() != folder.resolve():
        own.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process found the job
            own.symlink_to(folder.resolve())
