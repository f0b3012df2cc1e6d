"""Rows of a test list read with their frames corrupted: some settings of a video at a time, the others from the same decode."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from torch import Tensor

from videoadapt import distributed
from videoadapt.data.loader import Loader, Sample
from videoadapt.data.reading import as_unreadable, why_unreadable
from videoadapt.data.structures import Unreadable, Video, VideoViews
from videoadapt.errors import DecodeError
from videoadapt.processes.slots import InSlot, Read
from videoadapt.video.corruptions.views import CorruptedViews
from videoadapt.video.readers import FileNotes

_BYTES = 48 * 2**20  # of the views that are read at a time


class CorruptedItem(NamedTuple):
    """A row of the test list, and the first of the settings to read."""

    row: int
    video: Video
    first: int


class CorruptedBatches(Sequence[list[CorruptedItem]]):
    """This rank's videos, one after the other, `at_once` settings at a time."""

    def __init__(self, videos: Sequence[Video], num_settings: int, at_once: int):
        self._videos, self._firsts = videos, range(0, num_settings, at_once)
        self._rows = range(distributed.rank(), len(videos), distributed.world_size())

    def __len__(self) -> int:
        return len(self._rows) * len(self._firsts)

    def __getitem__(self, number: int) -> list[CorruptedItem]:  # type: ignore[override]
        place, part = divmod(number, len(self._firsts))
        row = self._rows[place]
        return [CorruptedItem(row, self._videos[row], self._firsts[part])]


@dataclass(frozen=True)
class ReadCorrupted:
    """Reads the views of a row under up to `at_once` settings."""

    reader: CorruptedViews

    @property
    def at_once(self) -> int:
        """How many settings are read at a time: as many as memory is set aside for."""
        return min(max(1, _BYTES // self.reader.views_bytes), len(self.reader.settings))

    @property
    def sample_bytes(self) -> int:
        """Bytes of what is read of an item."""
        return self.at_once * self.reader.views_bytes

    def __call__(self, item: CorruptedItem) -> Read[FileNotes] | Unreadable:
        """Return uint8 views (S, N, J, 3, T, H, W)."""
        video, which = item.video, slice(item.first, item.first + self.at_once)
        try:
            return Read(*self.reader(video.path, video.part, video.id, which))
        except (DecodeError, MemoryError) as error:
            return Unreadable(item.row, video, why_unreadable(error, video))


CorruptedLoader: TypeAlias = Loader[CorruptedItem, FileNotes, Unreadable, list[VideoViews | Unreadable]]


@dataclass(frozen=True)
class CollateCorrupted:
    """Makes of what was read the views of each setting; their `index` is setting * num_videos + row."""

    num_videos: int
    num_settings: int
    at_once: int

    def __call__(
        self, samples: Sequence[Sample[CorruptedItem, FileNotes, Unreadable]], pixels_1B: Tensor
    ) -> list[VideoViews | Unreadable]:
        """A video that cannot be read cannot be under each of these settings."""
        (sample,) = samples
        item, result = sample.item, sample.result
        settings = range(item.first, min(item.first + self.at_once, self.num_settings))
        rows = [setting * self.num_videos + item.row for setting in settings]
        if not isinstance(result, InSlot):
            reason = as_unreadable(item.row, item.video, result).reason
            return [Unreadable(row, item.video, reason) for row in rows]
        views = pixels_1B[0, : math.prod(result.shape)].view(result.shape)
        return [VideoViews(row, item.video, of, *result.notes) for row, of in zip(rows, views, strict=True)]
