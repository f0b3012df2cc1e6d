"""Rows of a list read from their files, and what was read put together: what a training loop and a test loop iterate over.

Every random choice about a clip comes from (seed, epoch, row, number of the clip): neither workers nor ranks matter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from videoadapt.data.batches import TestItem, TrainItem
from videoadapt.data.loader import Loader, Sample
from videoadapt.data.structures import ClipBatch, Unreadable, Video, VideoViews
from videoadapt.errors import DecodeError
from videoadapt.processes.slots import InSlot, Read
from videoadapt.processes.worker import Lost
from videoadapt.video.boxes import EraseBox
from videoadapt.video.jpeg_clips import JpegClips, JpegDecoder
from videoadapt.video.readers import ClipReader, FileNotes, ViewReader


class ClipNotes(NamedTuple):
    """What there is to say of the clips of a row: what to erase of each, of their file, and whether they are yet to be made."""

    erase: tuple[EraseBox | None, ...]
    file: FileNotes = FileNotes()
    jpeg: JpegClips | None = None  # what to make of its bytes, where these are strips of its frames


@dataclass(frozen=True)
class ReadClips:
    """Reads `repeated` clips of a row of the training list; `in_jpeg`: as their frames in JPEG, where these are smaller."""

    reader: ClipReader
    seed: int
    repeated: int = 1
    in_jpeg: bool = False

    @property
    def sample_bytes(self) -> int:
        """Bytes of what is read of a row."""
        return self.repeated * self.reader.clip_bytes

    def __call__(self, item: TrainItem) -> Read[ClipNotes] | Unreadable:
        """Return uint8 clips (R, 3, T, H, W), or the bytes that they are to be made of (N,), and what to erase of each."""
        first = item.before * self.repeated
        numbers = range(first, first + self.repeated)
        rngs = [np.random.default_rng([self.seed, item.epoch, item.row, number]) for number in numbers]
        try:
            if self.in_jpeg:
                bytes_N, jpeg, erase, notes = self.reader.in_jpeg(item.video.path, rngs, item.video.part)
                return Read(bytes_N, ClipNotes(erase, notes, jpeg))
            clips_RCTHW, erase, notes = self.reader.with_notes(item.video.path, rngs, item.video.part)
            return Read(clips_RCTHW, ClipNotes(erase, notes))
        except (DecodeError, MemoryError) as error:
            return Unreadable(item.row, item.video, why_unreadable(error, item.video))


@dataclass(frozen=True)
class ReadViews:
    """Reads the views of a row of the test list."""

    reader: ViewReader

    @property
    def sample_bytes(self) -> int:
        """Bytes of what is read of a row."""
        return self.reader.views_bytes

    def __call__(self, item: TestItem) -> Read[FileNotes] | Unreadable:
        """Return uint8 views (N, J, 3, T, H, W)."""
        try:
            return Read(*self.reader.with_notes(item.video.path, item.video.part))
        except (DecodeError, MemoryError) as error:
            return Unreadable(item.row, item.video, why_unreadable(error, item.video))


TrainLoader: TypeAlias = Loader[TrainItem, ClipNotes, Unreadable, ClipBatch]
TestLoader: TypeAlias = Loader[TestItem, FileNotes, Unreadable, VideoViews | Unreadable]


def file_of(item: TrainItem | TestItem) -> str:
    """What a lost process is remembered by: the video, whichever epoch asks for it."""
    return item.video.id


def collate_clips(
    samples: Sequence[Sample[TrainItem, ClipNotes, Unreadable]],
    pixels_BN: Tensor,
    num_classes: int | None = None,
    decoder: JpegDecoder | None = None,
) -> ClipBatch:
    """Make a batch of the clips that could be read; the videos that could not travel by name.

    `pixels_BN` holds the pixels of each sample in its row: the batch is a view of it where all could be read. `num_classes`,
    where videos have several labels, is how many there are. With a `decoder` rows may hold JPEG files, and the batch is new.
    """
    read = {row: (s.item.video, s.result) for row, s in enumerate(samples) if isinstance(s.result, InSlot)}
    videos = [video for video, result in read.values() for _ in result.notes.erase]  # of each clip
    if decoder is None:
        pixels_BN = pixels_BN if len(read) == len(samples) else pixels_BN[[*read]]
        clips_BCTHW = _together(pixels_BN, {result.shape for _, result in read.values()})
    else:
        clips_BCTHW = _decoded([(pixels_BN[row], result) for row, (_, result) in read.items()], decoder)
    return ClipBatch(
        clips_BCTHW,
        _labels(videos, num_classes),
        tuple(video.id for video in videos),
        tuple(box for _, result in read.values() for box in result.notes.erase),
        tuple(as_unreadable(s.item.row, s.item.video, s.result) for s in samples if not isinstance(s.result, InSlot)),
        tuple((video.id, damaged) for video, result in read.values() if (damaged := result.notes.file.damaged_frames)),
        tuple(
            rate_hz
            for _, result in read.values()
            for _ in result.notes.erase
            if (rate_hz := result.notes.file.fps_hz) is not None
        ),
    )


def _labels(videos: Sequence[Video], num_classes: int | None) -> Tensor:
    if num_classes is None:
        return torch.tensor([video.label for video in videos], dtype=torch.int64)
    targets_BK = torch.zeros(len(videos), num_classes)
    for target_K, video in zip(targets_BK, videos, strict=True):
        target_K[list(video.labels or ())] = 1
    return targets_BK


def collate_views(
    samples: Sequence[Sample[TestItem, FileNotes, Unreadable]], pixels_1N: Tensor
) -> VideoViews | Unreadable:
    """Make the views of one video of its pixels."""
    (sample,) = samples
    if not isinstance(sample.result, InSlot):
        return as_unreadable(sample.item.row, sample.item.video, sample.result)
    return VideoViews(sample.item.row, sample.item.video, pixels_1N.view(sample.result.shape), *sample.result.notes)


def _together(pixels_BN: Tensor, shapes: set[tuple[int, ...]]) -> Tensor:
    """The clips (B * R, 3, T, H, W) of rows with R clips each."""
    if not shapes:
        return torch.empty(0, 3, 0, 0, 0, dtype=torch.uint8)
    (shape,) = shapes
    return pixels_BN.view(-1, *shape[1:])


def _decoded(rows: Sequence[tuple[Tensor, InSlot[ClipNotes]]], decoder: JpegDecoder) -> Tensor:
    """The clips of all rows in their order, where each row holds strips of JPEG or clips (R, 3, T, H, W)."""
    in_jpeg = [(row_N, jpeg) for row_N, result in rows if (jpeg := result.notes.jpeg) is not None]
    if not rows:
        return _together(torch.empty(0), set())
    if len(in_jpeg) == len(rows):
        return decoder(in_jpeg)
    made = iter(decoder(in_jpeg).split([len(jpeg.clips) for _, jpeg in in_jpeg]) if in_jpeg else ())
    return torch.cat(
        [
            row_N[: math.prod(result.shape)].view(result.shape).to(decoder.device)
            if result.notes.jpeg is None
            else next(made)
            for row_N, result in rows
        ]
    )


def why_unreadable(error: Exception, video: Video) -> str:
    """The error in words, with what helps."""
    if not isinstance(error, MemoryError):
        return str(error)
    said = str(error) or "a decoder got none"
    return (
        f"{video.path}: memory does not suffice for its frames ({said}); lower data.workers, give the run more memory, "
        "or encode it with smaller pictures"
    )


def as_unreadable(row: int, video: Video, result: Unreadable | Lost) -> Unreadable:
    """What stands for a video of which this is said instead of pixels."""
    if isinstance(result, Unreadable):
        return result
    advice = "raise data.limit_sec, or " if result.overtime else ""
    reason = f"{video.path}: {result.reason}; {advice}encode it anew, or take it out of the list"
    return Unreadable(row, video, reason)
