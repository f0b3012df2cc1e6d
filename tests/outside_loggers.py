"""Loggers as others write them, which do what a package, a server or a system may do; one writes down what it gets."""

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from videoadapt.runs.loggers import Beginning, Logger, Record
from videoadapt.runs.outcome import OutcomeRecord


class Noting(Logger):
    """Leaves a JSON line for each call in `noted` of the run's folder, and in its second `add` does as it is told."""

    def __init__(self, *, then: str = "go on"):
        self._then, self._adds = then, 0

    def begin(self, run: Beginning) -> str:
        self._path = run.folder / "noted"
        self._note("begin", run.known, run.step, run.config["train.epochs"], os.getpid())
        return "mine"

    def add(self, records: Sequence[Record]) -> None:
        self._note("add", [list(record) for record in records])
        self._adds += 1
        if self._adds == 2 and self._then == "fail":
            raise ValueError("the server says\n\n  no")
        if self._adds == 2 and self._then == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._adds == 2 and self._then == "hang":
            time.sleep(600)

    def end(self, outcome: OutcomeRecord | None) -> None:
        self._note("end", None if outcome is None else asdict(outcome)["outcome"])

    def _note(self, *what: object) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(what) + "\n")


class NotingHere(Noting):
    """In the run's own process."""

    own_process = False

    def __init__(self, *, then: str = "go on"):
        super().__init__(then=then)


def noted(folder: Path) -> list[list[object]]:
    """The calls of one that notes."""
    return [json.loads(line) for line in (folder / "noted").read_text().splitlines()]
