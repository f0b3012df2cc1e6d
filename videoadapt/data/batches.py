"""Lists and readers put together: what a training loop and a test loop iterate over."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from videoadapt import distributed
from videoadapt.data.loader import Sample
from videoadapt.data.structures import ClipBatch, Unreadable, Video, VideoViews
from videoadapt.processes.worker import Lost


class TrainItem(NamedTuple):
    """A row of the training list in one epoch."""

    epoch: int
    row: int
    video: Video


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

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch; the incomplete last batch is dropped, as in AdaptFormer's loader."""
        return self.num_videos // self.batch_size

    @property
    def total_steps(self) -> int:
        """Updates in the whole run."""
        return self.steps_per_epoch * self.epochs

    def rows(self, step: int) -> tuple[int, np.ndarray]:
        """The epoch of an update and the rows of its global batch."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_videos)
        return epoch, order[within * self.batch_size : (within + 1) * self.batch_size]


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
        mine = rows.reshape(self._schedule.accumulate, distributed.world_size(), -1)[part, distributed.rank()]
        return [TrainItem(epoch, int(row), self._videos[row]) for row in mine]


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


def file_of(item: TrainItem | TestItem) -> str:
    """What a lost process is remembered by: the video, whichever epoch asks for it."""
    return item.video.id


def collate_clips(samples: Sequence[Sample[TrainItem]]) -> ClipBatch:
    """Copy the clips that could be read into one batch; the others travel by name."""
    read = [sample for sample in samples if sample.pixels is not None]
    return ClipBatch(
        _together([s.pixels for s in read if s.pixels is not None]),
        torch.tensor([s.item.video.label for s in read for _ in s.rest], dtype=torch.int64),
        tuple(s.item.video.id for s in read for _ in s.rest),
        tuple(box for s in read for box in s.rest),
        tuple(_unreadable(s) for s in samples if s.pixels is None),
    )


def collate_views(samples: Sequence[Sample[TestItem]]) -> VideoViews | Unreadable:
    """Copy the views of one video."""
    (sample,) = samples
    if sample.pixels is None:
        return _unreadable(sample)
    return VideoViews(sample.item.row, sample.item.video, _together([sample.pixels]))


def _together(parts: Sequence[Tensor]) -> Tensor:
    """Copy of all parts behind one another, in memory from which CUDA copies in the background."""
    if not parts:
        return torch.empty(0, 3, 0, 0, 0, dtype=torch.uint8)
    total = sum(len(part) for part in parts)
    out = torch.empty(total, *parts[0].shape[1:], dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    # not torch.cat: its threads, a second team beside the training's, would make OpenMP put both to sleep after every operation
    np.concatenate([part.numpy() for part in parts], out=out.numpy())
    return out


def _unreadable(sample: Sample[TrainItem] | Sample[TestItem]) -> Unreadable:
    video, reason = sample.item.video, sample.rest
    if isinstance(reason, Lost):
        advice = "raise data.limit_sec, or " if reason.overtime else ""
        reason = f"{video.path}: {reason.reason}; {advice}encode it anew, or take it out of the list"
    return Unreadable(sample.item.row, video, reason)
