"""What a job leaves in its folder `<run>/jobs/<job id>/`: an account of each attempt, and who failed first in it.

An attempt is what runs between two waits in the queue. Its files are replaced or created whole, never appended to, so that
ranks on several hosts of a network file system cannot mix them up.
"""

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoadapt.files import write_json

FINISHED = "finished"
TIMED_OUT = "reached its time limit"


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job, by number from 0."""

    folder: Path
    number: int

    @property
    def path(self) -> Path:
        """Where its account stands."""
        return self.folder / f"attempt_{self.number}.json"

    @property
    def failure_path(self) -> Path:
        """Where the first rank that fails says why."""
        return self.folder / f"attempt_{self.number}_failure.json"

    def begin(self, **values: Any) -> None:
        """Say that it has begun: earlier attempts that are still at work leave when they see this."""
        self._write({"attempt": self.number, "began": time.time(), "host": socket.gethostname(), **values})

    def end(self, how: str) -> None:
        """Say how it ended."""
        self._write({**self.read(), "ended": time.time(), "how": how})

    def _write(self, values: dict[str, Any]) -> None:
        write_json(self.path, values)

    def read(self) -> dict[str, Any]:
        """Its account, empty before it has begun."""
        return _read(self.path)

    def replaced(self) -> bool:
        """True when a later attempt has begun."""
        return any(attempt.number > self.number for attempt in attempts(self.folder))

    def note_failure(self, rank: int, why: str) -> bool:
        """Say why this rank fails, and return True, unless another one was first."""
        own = self.failure_path.with_name(f".{self.failure_path.name}.{rank}")
        values = {"rank": rank, "host": socket.gethostname(), "time": time.time(), "why": why}
        write_json(own, values)
        try:
            os.link(own, self.failure_path)  # fails where it is there: one rank is the first, whole and at once
            return True
        except FileExistsError:
            return False
        finally:
            own.unlink()

    def failure(self) -> dict[str, Any]:
        """Rank, host, time and words of the first failure; empty when there is none."""
        return _read(self.failure_path)


def attempts(folder: Path) -> list[Attempt]:
    """All attempts that have begun, the first one first."""
    numbers = [int(path.stem.removeprefix("attempt_")) for path in folder.glob("attempt_*.json") if _is_account(path)]
    return [Attempt(folder, number) for number in sorted(numbers)]


def job_folders(run: Path) -> list[Path]:
    """Folders of a run's jobs, the newest submission last."""
    found = [path for path in (run / "jobs").glob("*") if (path / "submission.json").is_file()]
    return sorted(found, key=lambda path: float(_read(path / "submission.json")["submitted"]))


def read_submission(folder: Path) -> dict[str, Any]:
    """What was submitted: executor, ranks, time, code."""
    return _read(folder / "submission.json")


def write_submission(folder: Path, **values: Any) -> None:
    """Write down what was submitted."""
    write_json(folder / "submission.json", {"submitted": time.time(), **values})


def _is_account(path: Path) -> bool:
    return path.stem.removeprefix("attempt_").isdigit()


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content
