"""What a run took: time, clips a second, energy, from phases.jsonl and timing.jsonl."""

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from videoadapt.config.schema import Config
from videoadapt.runs.phases import FILE_NAME
from videoadapt.runs.records import read_records
from videoadapt.runs.shapes import Phase, TimedInParts


class Costs(NamedTuple):
    """Times in seconds; `phases` are the records of runs/phases.py, in order."""

    phases: list[dict[str, Any]]
    updates: int
    training_sec: float  # of all updates, whichever processes did them
    waiting_share: float  # of that, for clips; 0 to 1
    clips_per_sec: float | None  # median over the updates
    test_videos_per_sec: float | None

    @property
    def latest(self) -> dict[str, Any] | None:
        """The record that machine and parameters are taken from."""
        return self.phases[-1] if self.phases else None


def read_costs(folder: Path, config: Config, num_test_videos: int | None) -> Costs:
    """What is on record. Raises VideoAdaptError for a damaged file."""
    phases = read_records(folder / FILE_NAME, Phase)
    updates = read_records(folder / "timing.jsonl", TimedInParts)
    total = sum(update["step_sec"] for update in updates)
    waiting = sum(update["data_sec"] for update in updates)
    tests = [phase for phase in phases if phase["phase"] == "test"]
    return Costs(
        phases,
        len(updates),
        total,
        waiting / total if total else 0.0,
        statistics.median(update["clips_per_sec"] for update in updates) if updates else None,
        num_test_videos / tests[-1]["sec"] if tests and num_test_videos else None,
    )
