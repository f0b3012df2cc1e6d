"""A cell of a sweep: one run, its command line, and what it left in its folder."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoadapt.config.keys import alters
from videoadapt.config.loading import load_config
from videoadapt.config.marks import Alters
from videoadapt.config.schema import Config
from videoadapt.errors import VideoAdaptError
from videoadapt.paths import is_file
from videoadapt.runs.outcome import Outcome, read_outcome
from videoadapt.runs.records import read_record, read_records
from videoadapt.runs.shapes import CellResults, Measured, Timed
from videoadapt.runs.statement import Statement, differences, value_of
from videoadapt.sweeps.old_logs import diverged_by_logs

_AGAIN = "delete it, and the same command tests the cell again"
LOG = "sweep.log"  # the output of a cell's process, in the cell's folder
Settings = Mapping[str, str]  # axis -> the label of one of its settings


@dataclass(frozen=True)
class Cell:
    """One run: the command `train` with these arguments; without its test while it only serves a choice."""

    settings: Settings
    seed: int
    base: Path
    overrides: tuple[str, ...]
    config: Config
    tested: bool = True

    @property
    def folder(self) -> Path:
        """The run's output folder."""
        return self.config.output

    @property
    def name(self) -> str:
        """Its name for people."""
        return ", ".join([*(f"{short(axis)} {label}" for axis, label in self.settings.items()), f"seed {self.seed}"])

    @property
    def arguments(self) -> list[str]:
        """The command line of its run."""
        return ["--cfg", str(self.base), *self.overrides, "train.enable=true", f"test.enable={json.dumps(self.tested)}"]

    @property
    def as_run(self) -> Config:
        """The config of its run."""
        test = self.config.test.model_copy(update={"enable": self.tested})
        return self.config.model_copy(
            update={"test": test, "train": self.config.train.model_copy(update={"enable": True})}
        )

    @property
    def finished(self) -> bool:
        """Whether its results exist, or, without a test, its adapter; one without a test that diverged is done as well."""
        if not self.tested:
            return is_file(self.folder / "adapter.safetensors") or self.diverged
        results = self.results
        return (
            results is not None and results["num_unreadable"] <= self.config.test.max_unreadable * results["num_videos"]
        )

    @property
    def results(self) -> dict[str, Any] | None:
        """The content of its results.json; None without one. Raises VideoAdaptError for one that cannot be read."""
        return read_record(self.folder / "results.json", CellResults, _AGAIN)

    @property
    def cost(self) -> tuple[int, float]:
        """Clips in its updates, and seconds that they took, including waiting for clips; (0, 0.0) without records."""
        updates = read_records(self.folder / "timing.jsonl", Timed)
        clips = self.config.train.batch_size * self.config.data.augment.repeated
        return clips * len(updates), sum(update["step_sec"] for update in updates)

    @property
    def diverged(self) -> bool:
        """Whether its last run ended because the loss or a validation was not finite, here or as a job."""
        record = read_outcome(self.folder)
        if record is None:
            return diverged_by_logs(self.folder, self.folder / LOG)
        return record.outcome == Outcome.DIVERGED

    @property
    def val_top1(self) -> float:
        """Its best validation top-1 (%), that of the checkpoint which is tested; less than any when it diverged."""
        records = read_records(self.folder / "metrics.jsonl", Measured)
        found = [r["top1"] for r in records if r["kind"] == "val" and "top1" in r]
        return max(found, default=-math.inf) if not self.diverged else -math.inf

    def other_values(self) -> list[str]:
        """Keys that matter and are others in config.yaml or results.json there, with both values and what to delete.

        None without these files. The two differ where somebody tested the run once more, in another way.
        """
        path, now, results = self.folder / "config.yaml", self.config.model_dump(mode="json"), self.results
        found: dict[str, str] = {}
        if results is not None and "statement" in results:
            try:
                there = Statement.read(results["statement"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise VideoAdaptError(f"{self.folder / 'results.json'}: statement is damaged; {_AGAIN}") from error
            tested = differences(there.config, Statement.of(self.config, there.class_names).config)
            found |= {
                key: f"({key} was {old!r} in the test there, is {new!r} now); delete its results.json, and it is tested again"
                for key, old, new in tested
            }
        if is_file(path):
            trained = differences(load_config(path).model_dump(mode="json"), now)
            found |= {
                key: f"({key} is {old!r} there, {new!r} now); delete the folder"
                for key, old, new in trained
                if alters(key) != Alters.NOTHING
            }
        return [found[key] for key in sorted(found) if value_of(now, key) != "auto"]  # which then chose what is there


def short(axis: str) -> str:
    """The last part of a dotted key, by which an axis is shown."""
    return axis.rpartition(".")[2]
