"""What a logger is: one more place that a run's numbers go to, beside metrics.jsonl, which has them all."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from videoadapt.runs.outcome import OutcomeRecord


class Record(NamedTuple):
    """What `kind` ("train", "val", "test", "robustness") measured after `step` updates."""

    kind: str
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Beginning:
    """Where a run begins, or goes on: after `step` updates, of which metrics.jsonl holds `num_records` records.

    `config` has dotted keys. `known`: the name that the logger's `begin` gave this run before, None for a new one.
    """

    folder: Path
    step: int
    num_records: int
    config: dict[str, Any]
    known: str | None = None


class Logger(ABC):
    """Gets the records of metrics.jsonl in their order, then the tests', then how the run ended; only on rank 0.

    What a config may set are the keyword-only arguments of the constructor, which opens nothing. Any exception of the other
    methods ends the logger with a warning, and never the run.
    """

    # to be imported; a run is refused without it, and the extra of its name offered
    package: ClassVar[str | None] = None
    # for packages with threads, signals and network of their own; without, the run waits for each `add`
    own_process: ClassVar[bool] = True

    @abstractmethod
    def begin(self, run: Beginning) -> str:
        """Begin, or go on with the run `run.known`; return the name by which to go on after the next interruption."""

    @abstractmethod
    def add(self, records: Sequence[Record]) -> None:
        """Show these."""

    @abstractmethod
    def end(self, outcome: OutcomeRecord | None) -> None:
        """The run has ended so; None: nobody knows, its process was killed."""
