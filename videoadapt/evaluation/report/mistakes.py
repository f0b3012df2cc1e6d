"""The mistakes that a model was surest of, with the films to look at.

Shapes: N videos, K classes.
"""

from typing import NamedTuple

import numpy as np

from videoadapt.config.schema import DataConfig
from videoadapt.evaluation.report.films import Thumbnail, thumbnails
from videoadapt.evaluation.tested import Tested

MOST = 24


class Mistake(NamedTuple):
    """A video, what it was called, how probable that was, what it is (of several labels any number), and how probable that."""

    video: str
    called: str
    probability: float
    truth: str
    truth_probability: float | None
    film: Thumbnail


def confident_mistakes(tested: Tested, data: DataConfig) -> list[Mistake]:
    """At most MOST, the surest first; of several labels the surest class of each video that it does not have."""
    wrong_NK = ~tested.labels if tested.is_multi else np.ones(tested.probs_NK.shape, dtype=np.bool_)
    if not tested.is_multi:
        wrong_NK[np.arange(len(tested.labels)), tested.labels] = False
    probs_NK = np.where(wrong_NK, tested.probs_NK, -1)
    called_N, surest_N = probs_NK.argmax(axis=1), probs_NK.max(axis=1)
    mistaken_N = tested.readable_N & (surest_N >= _asked(tested)[np.arange(len(called_N)), called_N])
    rows = np.flatnonzero(mistaken_N)
    rows = rows[np.argsort(-surest_N[rows], kind="stable")][:MOST].tolist()
    films = thumbnails(data, tested.ids[rows].tolist())
    names = tested.class_names
    found = []
    for row, film in zip(rows, films, strict=True):
        labels = np.flatnonzero(tested.labels[row]) if tested.is_multi else [tested.labels[row]]
        own = None if tested.is_multi else float(tested.probs_NK[row, tested.labels[row]])
        truth = ", ".join(names[label] for label in labels)
        found.append(Mistake(str(tested.ids[row]), names[called_N[row]], float(surest_N[row]), truth, own, film))
    return found


def _asked(tested: Tested) -> np.ndarray:
    """From which probability on a class (N, K) is a mistake: where it is said to be there, or is ahead of the right one."""
    if tested.is_multi:
        return np.broadcast_to(np.array(tested.results["thresholds"]), tested.probs_NK.shape)
    return np.broadcast_to(np.where(tested.correct_N, np.inf, 0.0)[:, None], tested.probs_NK.shape)
