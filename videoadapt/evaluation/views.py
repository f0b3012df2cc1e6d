"""The only place where an accuracy is computed. The accumulator owns the views: it knows which must arrive.

Shapes: N videos, V views of a video (all crops of its first clip, then of its second), K classes.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from videoadapt import distributed
from videoadapt.data.structures import Unreadable, Video, VideoViews
from videoadapt.errors import NotFinite
from videoadapt.evaluation.predictions import Average, Predictions


class ViewId(NamedTuple):
    """One test view: the index of the video in its list, the temporal clip and the spatial crop."""

    video: int
    clip: int
    crop: int


class ViewAccumulator:
    """Collects the logits of every (video, clip, crop) once and turns them into accuracies.

    A view that is missing or doubled raises ValueError with the video's name in it, one that is not finite NotFinite. An
    unreadable video counts as wrong and is listed; it is never replaced.
    """

    def __init__(self, videos: Sequence[Video], num_clips: int, num_crops: int, num_classes: int):
        self._videos = videos
        self._views = list(product(range(num_clips), range(num_crops)))
        self._num_classes = num_classes
        self._logits: dict[int, dict[tuple[int, int], np.ndarray]] = {}
        self._unreadable: dict[int, str] = {}
        self._damaged_frames: dict[int, int | None] = {}

    def add(self, view: ViewId, logits_K: np.ndarray) -> None:
        """Take the float32 logits of one view. Raises NotFinite, and ValueError when it is doubled or out of place."""
        name = f"{self._videos[view.video].id}, clip {view.clip}, crop {view.crop}"
        place = view.clip, view.crop
        views = self._logits.setdefault(view.video, {})
        if place not in self._views:
            raise ValueError(f"{name}: not one of the {len(self._views)} expected views")
        if place in views or view.video in self._unreadable:
            raise ValueError(f"{name}: this view arrived twice")
        if logits_K.shape != (self._num_classes,):
            raise ValueError(f"{name}: expected {self._num_classes} logits, got an array of shape {logits_K.shape}")
        if not np.isfinite(logits_K).all():
            raise NotFinite(
                f"{name}: not all logits are finite. Lower optim.lr_per_256, set train.clip_grad_norm, or use train.precision "
                "bf16 or fp32"
            )
        views[place] = logits_K.astype(np.float32)

    def add_unreadable(self, video: int, reason: str) -> None:
        """Note that a video cannot be decoded: it counts as wrong."""
        if video in self._unreadable or video in self._logits:
            raise ValueError(f"{self._videos[video].id}: arrived as unreadable and a second time")
        self._unreadable[video] = reason

    def note_damage(self, video: int, frames: int | None) -> None:
        """Note how many frames of a video the decoder marked as damaged; None where it cannot tell."""
        self._damaged_frames[video] = frames

    def gather(self) -> None:
        """Merge what all ranks hold; a video that two ranks delivered raises ValueError."""
        mine = self._logits, self._unreadable, self._damaged_frames
        for rank, (logits, unreadable, damaged_frames) in enumerate(distributed.all_gather_objects(mine)):
            if rank == distributed.rank():
                continue
            doubled = [*(logits.keys() & self._logits.keys()), *(unreadable.keys() & self._unreadable.keys())]
            if doubled:
                raise ValueError(f"{self._videos[doubled[0]].id}: delivered by two ranks")
            self._logits |= logits
            self._unreadable |= unreadable
            self._damaged_frames |= damaged_frames

    def predictions(self, average: Average) -> "Predictions":
        """Check that every view of every video is there, then average them. Raises ValueError naming what is missing."""
        logits_NVK = np.full((len(self._videos), len(self._views), self._num_classes), np.nan, dtype=np.float32)
        for index, video in enumerate(self._videos):
            if index in self._unreadable:
                continue
            views = self._logits.get(index, {})
            missing = [place for place in self._views if place not in views]
            if missing:
                clip, crop = missing[0]
                raise ValueError(
                    f"{video.id}: {len(missing)} of {len(self._views)} views never arrived, first clip {clip}, crop {crop}"
                )
            logits_NVK[index] = np.stack([views[place] for place in self._views])
        unreadable, damaged = dict(sorted(self._unreadable.items())), dict(sorted(self._damaged_frames.items()))
        return Predictions(self._videos, logits_NVK, unreadable, average, damaged)


@torch.inference_mode()
def evaluate(
    forward: Callable[[Tensor], Tensor],
    videos: Iterable[VideoViews | Unreadable],
    accumulator: ViewAccumulator,
    batch_size: int,
) -> None:
    """Run every view of every video once through `forward` (uint8 clips (B, 3, T, H, W) -> logits (B, K)) and gather.

    `batch_size` bounds the views of one forward pass; views of neighbouring videos share a pass. Raises NotFinite on every
    rank when a view of one of them is.
    """
    problem: NotFinite | None = None
    try:
        _evaluate_own(forward, videos, accumulator, batch_size)
    except NotFinite as error:
        problem = error
    distributed.raise_on_all(problem)
    accumulator.gather()


def _evaluate_own(
    forward: Callable[[Tensor], Tensor],
    videos: Iterable[VideoViews | Unreadable],
    accumulator: ViewAccumulator,
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
        accumulator.note_damage(item.index, item.damaged_frames)
        for clip, crops_JCTHW in enumerate(item.views_NJCTHW):
            waiting.extend((ViewId(item.index, clip, crop), view) for crop, view in enumerate(crops_JCTHW))
        while len(waiting) >= batch_size:
            flush(waiting[:batch_size])
            del waiting[:batch_size]
    if waiting:
        flush(waiting)
