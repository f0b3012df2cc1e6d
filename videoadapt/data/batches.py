"""Which rows of a list make a batch: the schedule of a training run, and the batches of a rank."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from videoadapt import distributed
from videoadapt.data.balance import BalancedRows
from videoadapt.data.structures import Video


class TrainItem(NamedTuple):
    """A row of the training list in one epoch."""

    epoch: int
    row: int
    video: Video
    before: int = 0  # times that the epoch has drawn this row already


class TestItem(NamedTuple):
    """A row of the test list."""

    row: int
    video: Video


@dataclass(frozen=True)
class Schedule:
    """How many updates a training run has and which rows each one sees."""

    num_videos: int
    batch_size: int  # videos of one update, over all ranks and accumulation steps
    epochs: int
    accumulate: int
    seed: int
    balanced: BalancedRows | None = None  # draws the rows of an epoch; None: each comes once

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch; the incomplete last batch is dropped, as in AdaptFormer's loader."""
        return self.num_videos // self.batch_size

    @property
    def total_steps(self) -> int:
        """Updates in the whole run."""
        return self.steps_per_epoch * self.epochs

    def rows(self, step: int) -> tuple[int, np.ndarray]:
        """The epoch of an update and its global batch (B, 2): rows, and how many times the epoch has drawn each before."""
        epoch, within = divmod(step, self.steps_per_epoch)
        rng = np.random.default_rng([self.seed, epoch])
        if self.balanced is None:
            rows_N = rng.permutation(self.num_videos)
            before_N = np.zeros_like(rows_N)
        else:
            rows_N, before_N = self.balanced.draw(rng)
        batch = slice(within * self.batch_size, (within + 1) * self.batch_size)
        return epoch, np.stack([rows_N[batch], before_N[batch]], axis=1)


class TrainBatches(Sequence[list[TrainItem]]):
    """This rank's micro-batches, `accumulate` of them for each update from `start_step` to the end."""

    def __init__(self, videos: Sequence[Video], schedule: Schedule, start_step: int):
        self._videos = videos
        self._schedule = schedule
        self._start_step = start_step

    def __len__(self) -> int:
        return (self._schedule.total_steps - self._start_step) * self._schedule.accumulate

    def __getitem__(self, number: int) -> list[TrainItem]:  # type: ignore[override]
        if number >= len(self):
            raise IndexError(number)
        step, part = divmod(number, self._schedule.accumulate)
        epoch, rows = self._schedule.rows(self._start_step + step)
        mine = rows.reshape(self._schedule.accumulate, distributed.world_size(), -1, 2)[part, distributed.rank()]
        return [TrainItem(epoch, row, self._videos[row], before) for row, before in mine.tolist()]


class TestBatches(Sequence[list[TestItem]]):
    """This rank's videos, one at a time: every world-size-th of the list."""

    def __init__(self, videos: Sequence[Video]):
        self._videos = videos
        self._rows = range(distributed.rank(), len(videos), distributed.world_size())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> list[TestItem]:  # type: ignore[override]
        row = self._rows[number]
        return [TestItem(row, self._videos[row])]
