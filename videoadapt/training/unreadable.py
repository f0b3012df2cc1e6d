"""Training videos that cannot be read: named once each, counted, and too many of them an error."""

from collections.abc import Iterable

import torch

from videoadapt import distributed, logger
from videoadapt.data.structures import ClipBatch
from videoadapt.errors import DecodeError, counted

MOST_NAMED = 10  # in the error; the log names all


class DamagedVideos:
    """Training videos that were read although their decoder marked frames as damaged, on this rank since it began."""

    def __init__(self) -> None:
        self.frames: dict[str, int] = {}  # the most that a clip had

    def note(self, micro_batches: Iterable[ClipBatch]) -> None:
        """Take in what the batches tell."""
        for name, frames in (pair for batch in micro_batches for pair in batch.damaged):
            self.frames[name] = max(frames, self.frames.get(name, 0))

    def log_total(self) -> None:
        """Log how many there are on all ranks, if any; every rank calls it."""
        found: dict[str, int] = {}
        for part in distributed.all_gather_objects(self.frames):
            found |= part
        if found:
            logger.warning(
                "%s damage that the decoder conceals, up to %s of a clip; first %s; "
                "`prepare scan` names all", counted(len(found), "training video has", "training videos have"),
                counted(max(found.values()), "frame"), min(found),
            )  # fmt: skip


class UnreadableVideos:
    """Those met so far on any rank: `reasons` maps a video's id to the line of its list and what is wrong with it."""

    def __init__(self, num_videos: int, max_share: float):
        """`num_videos` is the length of the training list; more than `max_share` of it is too many."""
        self.reasons: dict[str, str] = {}
        self._num_videos, self._max_share = num_videos, max_share

    def note(self, micro_batches: Iterable[ClipBatch]) -> None:
        """Take in what the batches of all ranks could not read, and log each new video.

        Every rank calls it at the same step. Raises DecodeError when there are now too many.
        """
        mine = {
            item.video.id: f"line {item.video.line}: {item.reason}"
            for batch in micro_batches
            for item in batch.unreadable
        }
        if not float(distributed.all_reduce(torch.tensor(float(len(mine))))):
            return
        for part in distributed.all_gather_objects(mine):
            for name, reason in part.items():
                if name not in self.reasons:
                    logger.warning("training skips %s of data.train, %s", name, reason)
                self.reasons[name] = reason
        if len(self.reasons) > self._max_share * self._num_videos:
            names = list(self.reasons)
            more = f" and {len(names) - MOST_NAMED} more, all named in run.log" if len(names) > MOST_NAMED else ""
            raise DecodeError(
                f"{len(names)} of {counted(self._num_videos, 'training video')} cannot be read, more than data.max_unreadable "
                f"= {self._max_share}: {', '.join(names[:MOST_NAMED])}{more}; fix them, take them out of data.train, or raise "
                "data.max_unreadable"
            )

    def log_total(self) -> None:
        """Log how many there are, if any."""
        if self.reasons:
            number, total = len(self.reasons), self._num_videos
            logger.warning(
                "skipped %d of %s that could not be read (%.2g %%; reasons above)",
                number, counted(total, "training video"), 100 * number / total,
            )  # fmt: skip
