"""The numbers of a test on a page: scores with their intervals, views, classes.

Shapes: N videos, V views, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from videoadapt.evaluation.intervals import Interval, accuracy_interval, bootstrap_map_interval
from videoadapt.evaluation.predictions import TOP, shown_measures
from videoadapt.evaluation.tested import Tested

SCORES = {
    "top1": "Top-1 accuracy", "top5": "Top-5 accuracy", "mean_class": "Mean of the classes' accuracies",
    "mAP": "Mean average precision", "macro_f1": "F1, mean of the classes (macro)", "micro_f1": "F1 of all answers (micro)",
}  # fmt: skip


class Score(NamedTuple):
    """A number in percent, with 95 % intervals where it has them."""

    key: str  # in results.json
    value: float | None
    by_videos: Interval | None = None
    by_groups: Interval | None = None

    @property
    def name(self) -> str:
        """For people."""
        return SCORES[self.key]


class Views(NamedTuple):
    """The score of one view, mean, least and most over the views, and that of all together."""

    views: int
    mean: float
    least: float
    most: float
    together: float


class OneClass(NamedTuple):
    """A class: its test videos, its score (top-1 or average precision) in percent, what it is most taken for.

    And its top-5, None where there are five classes or fewer.
    """

    name: str
    videos: int
    score: float | None
    top5: float | None = None
    mostly: str = ""
    mostly_share: float = 0.0


def scores(tested: Tested, groups: Sequence[str] | None) -> list[Score]:
    """Top-1 or mAP first, with its intervals, then the others of results.json."""
    telling = shown_measures(tested.results, tested.class_names)
    found = [Score(key, tested.results[key]) for key in SCORES if key in telling]
    if found[0].value is None:
        return found
    if tested.is_multi:
        interval = bootstrap_map_interval(tested.scores_NK, tested.labels)
        return [found[0]._replace(by_videos=interval), *found[1:]]
    right_N = tested.correct_N.astype(np.float64)
    by_groups = None if groups is None else accuracy_interval(right_N, groups)
    return [Score(*found[0][:2], accuracy_interval(right_N, tested.ids.tolist()), by_groups), *found[1:]]


def views(tested: Tested) -> Views | None:
    """None where there is one view only."""
    of_view = tested.score_of_each_view()
    if len(of_view) < 2 or tested.score is None:
        return None
    return Views(len(of_view), float(np.mean(of_view)), min(of_view), max(of_view), tested.score)


def classes(tested: Tested) -> list[OneClass]:
    """The worst first, those without videos last."""
    if tested.is_multi:
        videos_K = tested.labels.sum(axis=0).tolist()
        found = [
            OneClass(name, number, None if ap is None else 100 * ap)
            for name, number, ap in zip(tested.class_names, videos_K, tested.average_precisions(), strict=True)
        ]
    else:
        found = [_one(tested, label) for label in range(len(tested.class_names))]
    return sorted(found, key=lambda of: (of.score is None, of.score, -of.mostly_share))


def _one(tested: Tested, label: int) -> OneClass:
    name, of_N = tested.class_names[label], tested.labels == label
    if not of_N.any():
        return OneClass(name, 0, None)
    scores_MK, videos = tested.scores_NK[of_N], int(of_N.sum())
    ranks_M = (scores_MK >= scores_MK[:, [label]]).sum(axis=1) - 1
    top5_M = (ranks_M < min(TOP, len(tested.class_names))) & tested.readable_N[of_N]
    wrong_K = np.bincount(tested.predicted_N[of_N & tested.readable_N], minlength=len(tested.class_names))
    wrong_K[label] = 0
    mostly = int(wrong_K.argmax())
    return OneClass(
        name,
        videos,
        100 * float(tested.correct_N[of_N].mean()),
        100 * float(top5_M.mean()) if len(tested.class_names) > TOP else None,
        tested.class_names[mostly] if wrong_K[mostly] else "",
        100 * float(wrong_K[mostly]) / videos,
    )
