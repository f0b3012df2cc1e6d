"""What a test on corrupted videos keeps: of each video under each setting whether it is right, or of several labels its scores.

The logits of a film's views are averaged, and gone, when the last of them is there: those of Kinetics-400's validation list
under all settings, 12 views each, would be 34 GB.

Shapes: S settings, N videos, V views, K classes.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import distributed
from videoadapt.data.label_sets import Kind
from videoadapt.data.structures import Video
from videoadapt.evaluation.average_precision import average_precision
from videoadapt.evaluation.intervals import Interval, bootstrap_map_interval, share_interval
from videoadapt.evaluation.multi_label import targets_of
from videoadapt.evaluation.predictions import Average, Predictions
from videoadapt.evaluation.views import ViewAccumulator, ViewId
from videoadapt.video.readers import FileNotes


class Verdicts:
    """Collects the views of videos under several settings, as a ViewAccumulator does, with the same errors.

    The `video` of a ViewId, and the row of what is unreadable, is setting x N + the video's row in the list.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        num_settings: int,
        num_clips: int,
        num_crops: int,
        num_classes: int,
        average: Average = "logits",
        labels: Kind = "single",
    ):
        self._videos, self._num_settings = videos, num_settings
        self._views, self._num_classes = (num_clips, num_crops), num_classes
        self._average, self._labels = average, labels
        shape = num_settings, len(videos)
        self.readable_SN = np.ones(shape, dtype=np.bool_)
        # bool (S, N): right or not; of several labels a video its scores, float32 (S, N, K)
        self.kept: NDArray[Any] = (
            np.zeros(shape, dtype=np.bool_) if labels == "single" else np.zeros((*shape, num_classes), dtype=np.float32)
        )
        self._open: dict[int, ViewAccumulator] = {}  # films of which views are missing, by row
        self._done_N = np.zeros(len(videos), dtype=np.bool_)

    def add(self, view: ViewId, logits_K: NDArray[np.float32]) -> None:
        """Take the logits of one view. Raises as ViewAccumulator.add."""
        setting, row = divmod(view.video, len(self._videos))
        film = self._film(row)
        film.add(ViewId(setting, view.clip, view.crop), logits_K)
        self._close_if_complete(row, film)

    def add_unreadable(self, video: int, reason: str) -> None:
        """Note that a video cannot be read under a setting: it counts as wrong."""
        setting, row = divmod(video, len(self._videos))
        film = self._film(row)
        film.add_unreadable(setting, reason)
        self._close_if_complete(row, film)

    def note(self, video: int, notes: FileNotes) -> None:
        """Leave out what there is to say of a file: the test on videos as they are says it."""

    def gather(self) -> None:
        """Merge what all ranks hold. Raises ValueError on all of them for a view that is missing or a doubled video."""
        rows = np.flatnonzero(self._done_N)
        missing = next((found for film in self._open.values() if (found := film.missing())), None)
        mine = missing, rows, self.readable_SN[:, rows], self.kept[:, rows]
        times_N = np.zeros(len(self._videos), dtype=np.int64)
        for missing, rows, readable, kept in distributed.all_gather_objects(mine):
            if missing is not None:
                raise ValueError(missing)
            times_N[rows] += 1
            self.readable_SN[:, rows], self.kept[:, rows] = readable, kept
        for wrong, said in ((times_N > 1, "delivered by two ranks"), (times_N < 1, "none of its views arrived")):
            if wrong.any():
                raise ValueError(f"{self._videos[int(wrong.argmax())].id}: {said}")

    def score(self, setting: int) -> float | None:
        """Top-1, or mAP, of all videos under a setting in percent; None where there is nothing to be right about."""
        kept = self.kept[setting]
        if self._labels == "single":
            return round(100 * float(kept.mean()), 4) if len(kept) else None
        of_classes = zip(kept.T, self._targets_NK.T, strict=True)
        known = [found for of_class in of_classes if (found := average_precision(*of_class)) is not None]
        return round(100 * float(np.mean(known)), 4) if known else None

    def interval(self, setting: int) -> Interval | None:
        """The 95 % interval of the score, over videos."""
        kept = self.kept[setting]
        return share_interval(kept) if self._labels == "single" else bootstrap_map_interval(kept, self._targets_NK)

    @cached_property
    def _targets_NK(self) -> NDArray[np.bool_]:
        return targets_of(self._videos, self._num_classes)

    def _film(self, row: int) -> ViewAccumulator:
        if self._done_N[row]:
            raise ValueError(f"{self._videos[row].id}: all its views are there, and one arrived twice")
        if row not in self._open:
            same = [self._videos[row]] * self._num_settings
            self._open[row] = ViewAccumulator(same, *self._views, self._num_classes)
        return self._open[row]

    def _close_if_complete(self, row: int, film: ViewAccumulator) -> None:
        if film.missing() is not None:
            return
        found = film.predictions(self._average, self._labels)
        self.readable_SN[:, row] = found.readable_N
        self.kept[:, row] = found.ranks_N == 0 if isinstance(found, Predictions) else found.scores_NK
        self._done_N[row] = True
        del self._open[row]
