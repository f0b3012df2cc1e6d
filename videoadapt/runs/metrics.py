"""metrics.jsonl, timing.jsonl and loggers: the numbers that a training run writes. Rank 0 only."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from videoadapt import distributed, logger
from videoadapt.errors import counted
from videoadapt.files import as_record, write_atomically
from videoadapt.paths import check_regular
from videoadapt.runs.feeds import Loggers
from videoadapt.runs.loggers import Record
from videoadapt.runs.records import read_records
from videoadapt.runs.shapes import Measured


class MetricsWriter:
    """Appends records to metrics.jsonl (functions of seed and step only), timing.jsonl, and hands the former to loggers."""

    def __init__(self, folder: Path, step: int, loggers: Loggers | None = None, awaits_validation: bool = False):
        """`step` is where the run resumes (0: a new one): records of later steps, left by a killed process, are cut off.

        `awaits_validation`: so is that of the validation at this step, which is made once more.
        """
        self._files: dict[str, TextIO] = {}
        self._loggers = loggers
        if not distributed.is_main():
            return
        for name in ("metrics", "timing"):
            path = folder / f"{name}.jsonl"
            _cut_back(path, step, awaits_validation)
            if name == "metrics":
                _say_lost(path, step)
            self._files[name] = path.open("a", encoding="utf-8")
        if loggers is not None:
            loggers.begin(step)

    def metrics(self, kind: str, step: int, **values: float) -> None:
        """Write what `kind` ("train", "val") measured at `step` (updates done)."""
        self._write("metrics", {"kind": kind, "step": step, **values})
        if self._loggers is not None:
            self._loggers.add(Record(kind, step, values))

    def timing(self, step: int, **values: float) -> None:
        """Write how long things took around `step`."""
        self._write("timing", {"step": step, **values})

    def _write(self, name: str, record: dict[str, Any]) -> None:
        if name in self._files:
            self._files[name].write(json.dumps(record) + "\n")
            self._files[name].flush()

    def sync(self) -> None:
        """Bring all records to the disk: a checkpoint of this step may exist only when they do."""
        for file in self._files.values():
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close all files. Each record was flushed when it was written, so a full disk has been reported by then."""
        for file in self._files.values():
            with suppress(OSError):
                file.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records in a run's metrics.jsonl. Raises VideoAdaptError as `read_records` does."""
    return read_records(folder / "metrics.jsonl", Measured)


def _say_lost(path: Path, step: int) -> None:
    """Warn where a run resumes at `step`, and the records of its earlier updates are gone."""
    if step and path.stat().st_size == 0:
        logger.warning(
            "%s: holds no updates before step %d, where this run resumes: it was deleted; curves begin there",
            path,
            step,
        )


def _cut_back(path: Path, step: int, awaits_validation: bool) -> None:
    """Cut a jsonl file before its first record that is later than `step`; of what is before, leave out what is damaged.

    The record of a validation at `step` is later than one that `awaits_validation`.

    What remains stays as it is. Damaged: half a line, zeros after a power cut, what is no record of a step.
    """
    check_regular(path)
    path.touch()
    kept, damaged = [], 0
    with path.open("rb") as file:
        for line in file:
            record = as_record(line, "step")
            if record is None or not isinstance(record["step"], int):
                damaged += line.endswith(b"\n")  # the last one of a killed process is half a line
            elif record["step"] > step or (awaits_validation and (record["step"], record.get("kind")) == (step, "val")):
                break
            elif line.endswith(b"\n"):
                kept.append(line)
    if not damaged:
        os.truncate(path, sum(map(len, kept)))
        return
    logger.warning(
        "%s: %s up to step %d left out; the curves have gaps there", path, counted(damaged, "damaged line"), step
    )
    write_atomically(path, lambda partial: partial.write_bytes(b"".join(kept)))
