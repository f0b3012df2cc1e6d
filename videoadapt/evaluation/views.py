"""The only place where an accuracy is computed. The accumulator owns the views: it knows which must arrive.

Shapes: N videos, V views of a video (all crops of its first clip, then of its second), K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from videoadapt import distributed
from videoadapt.data.label_sets import Kind
from videoadapt.data.structures import Unreadable, Video, VideoViews
from videoadapt.errors import Interrupted, NotFinite
from videoadapt.evaluation.of_labels import OF_LABELS
from videoadapt.evaluation.predictions import Average, ListPredictions
from videoadapt.video.readers import FileNotes


class ViewId(NamedTuple):
    """One test view: the index of the video in its list, the temporal clip and the spatial crop."""

    video: int
    clip: int
    crop: int


class Collector(Protocol):
    """What the views of a test are given to."""

    def add(self, view: ViewId, logits_K: np.ndarray) -> None:
        """Take the float32 logits of one view."""

    def add_unreadable(self, video: int, reason: str) -> None:
        """Note that a video cannot be decoded."""

    def note(self, video: int, notes: FileNotes) -> None:
        """Take what there is to say of a video's file."""

    def gather(self) -> None:
        """Merge what all ranks hold."""


class ViewAccumulator:
    """Collects the logits of every (video, clip, crop) once and turns them into accuracies.

    A view that is missing or doubled raises ValueError with the video's name in it, one that is not finite NotFinite. An
    unreadable video counts as wrong and is listed; it is never replaced.
    """

    def __init__(self, videos: Sequence[Video], num_clips: int, num_crops: int, num_classes: int):
        self._videos = videos
        self._views = list(product(range(num_clips), range(num_crops)))
        self._num_classes = num_classes
        # once, and not in pieces that are joined at the end; where nothing has arrived it takes no memory
        self._logits_NVK = np.empty((len(videos), len(self._views), num_classes), dtype=np.float32)
        self._arrived_NV = np.zeros(self._logits_NVK.shape[:2], dtype=bool)
        self._column = {place: column for column, place in enumerate(self._views)}
        self._unreadable: dict[int, str] = {}
        self._notes: dict[int, FileNotes] = {}

    def add(self, view: ViewId, logits_K: np.ndarray) -> None:
        """Take the float32 logits of one view. Raises NotFinite, and ValueError when it is doubled or out of place."""
        name = f"{self._videos[view.video].id}, clip {view.clip}, crop {view.crop}"
        column = self._column.get((view.clip, view.crop))
        if column is None:
            raise ValueError(f"{name}: not one of the {len(self._views)} expected views")
        if self._arrived_NV[view.video, column] or view.video in self._unreadable:
            raise ValueError(f"{name}: this view arrived twice")
        if logits_K.shape != (self._num_classes,):
            raise ValueError(f"{name}: expected {self._num_classes} logits, got an array of shape {logits_K.shape}")
        if not np.isfinite(logits_K).all():
            raise NotFinite(
                f"{name}: not all logits are finite. Lower optim.lr_per_256, set train.clip_grad_norm, or use train.precision "
                "bf16 or fp32"
            )
        self._logits_NVK[view.video, column] = logits_K
        self._arrived_NV[view.video, column] = True

    def add_unreadable(self, video: int, reason: str) -> None:
        """Note that a video cannot be decoded: it counts as wrong."""
        if video in self._unreadable or self._arrived_NV[video].any():
            raise ValueError(f"{self._videos[video].id}: arrived as unreadable and a second time")
        self._unreadable[video] = reason

    def note(self, video: int, notes: FileNotes) -> None:
        """Take what there is to say of a video's file."""
        self._notes[video] = notes

    def gather(self) -> None:
        """Merge what all ranks hold; a video that two ranks delivered raises ValueError."""
        if distributed.world_size() == 1:
            return
        rows = np.flatnonzero(self._arrived_NV.any(axis=1))
        mine = rows, self._logits_NVK[rows], self._arrived_NV[rows], self._unreadable, self._notes
        for rank, (rows, logits, arrived, unreadable, notes) in enumerate(distributed.all_gather_objects(mine)):
            if rank == distributed.rank():
                continue
            doubled = [*rows[self._arrived_NV[rows].any(axis=1)], *(unreadable.keys() & self._unreadable.keys())]
            if doubled:
                raise ValueError(f"{self._videos[doubled[0]].id}: delivered by two ranks")
            self._logits_NVK[rows], self._arrived_NV[rows] = logits, arrived
            self._unreadable |= unreadable
            self._notes |= notes

    def missing(self) -> str | None:
        """Which views of the first incomplete video never arrived; None where all did."""
        arrived_NV = self._arrived_NV.copy()
        arrived_NV[list(self._unreadable)] = True
        for index in map(int, np.flatnonzero(~arrived_NV.all(axis=1))):
            missing = np.flatnonzero(~arrived_NV[index])
            clip, crop = self._views[missing[0]]
            return (
                f"{self._videos[index].id}: {len(missing)} of {len(self._views)} views never arrived, first clip {clip}, "
                f"crop {crop}"
            )
        return None

    def predictions(self, average: Average, labels: Kind = "single") -> ListPredictions:
        """Check that every view of every video is there, then average them. Raises ValueError naming what is missing."""
        if (missing := self.missing()) is not None:
            raise ValueError(missing)
        self._logits_NVK[list(self._unreadable)] = np.nan
        unreadable, notes = dict(sorted(self._unreadable.items())), dict(sorted(self._notes.items()))
        return OF_LABELS[labels].predictions(self._videos, self._logits_NVK, unreadable, average, notes)


@torch.inference_mode()
def evaluate(
    forward: Callable[[Tensor], Tensor],
    videos: Iterable[VideoViews | Unreadable],
    accumulator: Collector,
    batch_size: int,
    interruption: Callable[[], Interrupted | None] = lambda: None,
) -> None:
    """Run every view of every video once through `forward` (uint8 clips (B, 3, T, H, W) -> logits (B, K)) and gather.

    `batch_size` bounds the views of one forward pass; views of neighbouring videos share a pass. Raises NotFinite on every
    rank when a view of one of them is, and what `interruption`, asked before each video, returns to one of them.
    """
    problem: NotFinite | Interrupted | None = None
    try:
        _evaluate_own(forward, _uninterrupted(videos, interruption), accumulator, batch_size)
    except (NotFinite, Interrupted) as error:
        problem = error
    distributed.raise_on_all(problem)
    accumulator.gather()


def _uninterrupted(
    videos: Iterable[VideoViews | Unreadable], interruption: Callable[[], Interrupted | None]
) -> Iterator[VideoViews | Unreadable]:
    for video in videos:
        if (asked := interruption()) is not None:
            raise asked
        yield video


def _evaluate_own(
    forward: Callable[[Tensor], Tensor],
    videos: Iterable[VideoViews | Unreadable],
    accumulator: Collector,
    batch_size: int,
) -> None:
    """The part of `evaluate` that needs no other rank."""
    waiting: list[tuple[ViewId, Tensor]] = []

    def flush(views: Sequence[tuple[ViewId, Tensor]]) -> None:
        logits_BK = forward(torch.stack([clip for _, clip in views])).float().cpu().numpy()
        for (view, _), logits_K in zip(views, logits_BK, strict=True):
            accumulator.add(view, logits_K)

    for item in videos:
        if isinstance(item, Unreadable):
            accumulator.add_unreadable(item.index, item.reason)
            continue
        accumulator.note(item.index, FileNotes(item.damaged_frames, item.fps_hz))
        for clip, crops_JCTHW in enumerate(item.views_NJCTHW):
            waiting.extend((ViewId(item.index, clip, crop), view) for crop, view in enumerate(crops_JCTHW))
        while len(waiting) >= batch_size:
            flush(waiting[:batch_size])
            del waiting[:batch_size]
    if waiting:
        flush(waiting)
