"""Lists and readers put together: what a training loop and a test loop iterate over."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from videoadapt import distributed
from videoadapt.clips import TestItem, TestViews, TrainClips, TrainItem
from videoadapt.config import Config, DataConfig, Holdout
from videoadapt.errors import ConfigError
from videoadapt.loader import Loader, Sample
from videoadapt.structures import ClipBatch, Unreadable, Video, VideoViews
from videoadapt.workers import Lost


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


def schedule_of(config: Config, videos: Sequence[Video]) -> Schedule:
    """The updates of a run over these training videos, or over clips rendered for it."""
    training, rendered = config.train, config.data.rendered
    num_videos = len(videos) if rendered is None else rendered.clips_per_epoch
    return Schedule(num_videos, training.batch_size, training.epochs, training.accumulate, config.seed)


def check_batch(config: Config, schedule: Schedule, ranks: int) -> int:
    """Return how many clips a rank needs in a micro-batch. Raises ConfigError for a batch size that cannot be."""
    parts = ranks * config.train.accumulate
    if schedule.batch_size % parts:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: not divisible by {ranks} ranks x "
            f"train.accumulate {config.train.accumulate}"
        )
    if not schedule.steps_per_epoch:
        source = "data.rendered" if config.data.rendered else "data.train"
        keys = {
            "data.val.holdout": isinstance(config.data.val, Holdout),
            "data.first_per_class": config.data.first_per_class,
        }
        left = " and ".join(key for key, is_set in keys.items() if is_set)
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: {source} has only {schedule.num_videos} videos"
            f"{' after ' if left else ''}{left}, so there is no full batch; choose a smaller one"
        )
    head = config.model.head
    local = schedule.batch_size * config.data.augment.repeated // parts
    batch_norm = config.task == "train" and head.batch_norm
    needed = 2 if batch_norm and not (head.sync and ranks > 1) else 1
    if local < needed:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: leaves one clip for a forward pass, and BatchNorm in the head needs "
            "two; choose a larger one, or set model.head.batch_norm false"
        )
    return needed


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


def build_train_loader(
    videos: Sequence[Video], config: DataConfig, schedule: Schedule, start_step: int
) -> Loader[TrainItem, ClipBatch]:
    """Iterates over this rank's ClipBatches from `start_step` to the end of training, across epochs."""
    clips = TrainClips(config, schedule.seed)
    return Loader(
        clips,
        TrainBatches(videos, schedule, start_step),
        collate_clips,
        workers=config.workers,
        sample_bytes=clips.sample_bytes,
        limit_sec=config.limit_sec,
        file=_file,
    )


def build_test_loader(
    videos: Sequence[Video], config: DataConfig, num_clips: int, num_crops: int
) -> Loader[TestItem, VideoViews | Unreadable]:
    """Iterates over VideoViews or Unreadable; every video is read by one rank."""
    batches = TestBatches(videos)
    views = TestViews(config, num_clips, num_crops)
    return Loader(
        views,
        batches,
        collate_views,
        workers=min(config.workers, len(batches)),
        sample_bytes=views.sample_bytes,
        limit_sec=config.limit_sec,
        file=_file,
    )


def _file(item: TrainItem | TestItem) -> str:
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
