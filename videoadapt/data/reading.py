"""Rows of a list read from their files, and what was read put together: what a training loop and a test loop iterate over.

Every random choice about a clip comes from (seed, epoch, row, repeat), so it depends neither on workers nor on ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from videoadapt.data.batches import TestItem, TrainItem
from videoadapt.data.loader import Sample
from videoadapt.data.structures import ClipBatch, Unreadable, VideoViews
from videoadapt.errors import DecodeError
from videoadapt.processes.worker import Lost
from videoadapt.video.readers import ClipReader, ViewReader
from videoadapt.video.transforms import EraseBox


@dataclass(frozen=True)
class ReadClips:
    """Reads `repeated` clips of a row of the training list."""

    reader: ClipReader
    seed: int
    repeated: int = 1

    @property
    def sample_bytes(self) -> int:
        """Bytes of what is read of a row."""
        return self.repeated * self.reader.clip_bytes

    def __call__(self, item: TrainItem) -> tuple[Tensor | None, tuple[EraseBox | None, ...] | str]:
        """Return uint8 (R, 3, T, H, W) and what to erase of each clip; or None and why the file cannot be read."""
        rngs = [np.random.default_rng([self.seed, item.epoch, item.row, repeat]) for repeat in range(self.repeated)]
        try:
            return self.reader(item.video.path, rngs)
        except DecodeError as error:
            return None, str(error)


@dataclass(frozen=True)
class ReadViews:
    """Reads the views of a row of the test list."""

    reader: ViewReader

    @property
    def sample_bytes(self) -> int:
        """Bytes of what is read of a row."""
        return self.reader.views_bytes

    def __call__(self, item: TestItem) -> tuple[Tensor | None, str]:
        """Return uint8 (N * J, 3, T, H, W), clip-major; or None and why the file cannot be read."""
        try:
            return self.reader(item.video.path).flatten(0, 1), ""
        except DecodeError as error:
            return None, str(error)


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
