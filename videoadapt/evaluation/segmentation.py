"""How well every frame of a film is labelled: frame accuracy, edit score and F1 of segments, in percent.

As MS-TCN defines them (Farha and Gall, CVPR 2019, section 4; the numbers of the authors' eval.py). Frames labelled NOTHING
belong to no segment, and count in the accuracy. Shapes: N frames.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videoadapt.errors import ConfigError

NOTHING = -1  # the label of a frame in which no class is
OVERLAPS = (0.1, 0.25, 0.5)


class SegmentScores(NamedTuple):
    """Percentages over all films; `f1` by the overlap (intersection over union) that a segment must reach."""

    accuracy: float
    edit: float
    f1: dict[float, float]


def segment_scores(
    predicted: Sequence[NDArray[np.int64]], truth: Sequence[NDArray[np.int64]], overlaps: Sequence[float] = OVERLAPS
) -> SegmentScores:
    """Compare the labels of all frames (N) of each film with its truth.

    Accuracy is over all frames of all films, the edit score a mean over films, and F1 from the counts of all. Raises
    ConfigError for films of different lengths, and where there is none.
    """
    lengths = [(len(one), len(other)) for one, other in zip(predicted, truth, strict=True)]
    if not lengths or any(one != other or not one for one, other in lengths):
        raise ConfigError(f"frames predicted and true: {lengths}; expected as many of each film, and one film or more")
    right = sum(int((one == other).sum()) for one, other in zip(predicted, truth, strict=True))
    pairs = [(_segments(one), _segments(other)) for one, other in zip(predicted, truth, strict=True)]
    edits = [_edit_score([s[2] for s in one], [s[2] for s in other]) for one, other in pairs]
    f1 = {overlap: _f1(pairs, overlap) for overlap in overlaps}
    return SegmentScores(100 * right / sum(one for one, _ in lengths), float(np.mean(edits)), f1)


Segments = list[tuple[int, int, int]]  # first frame, the one behind the last, label


def _segments(labels_N: NDArray[np.int64]) -> Segments:
    edges = [0, *(np.flatnonzero(labels_N[1:] != labels_N[:-1]) + 1).tolist(), len(labels_N)]
    found = [(first, stop, int(labels_N[first])) for first, stop in pairwise(edges)]
    return [segment for segment in found if segment[2] != NOTHING]


def _edit_score(predicted: Sequence[int], truth: Sequence[int]) -> float:
    """100 (1 - d / max(lengths)), d the Levenshtein distance of the orders of segments; of no segment in either 100."""
    if not predicted and not truth:
        return 100.0
    distances = list(range(len(truth) + 1))
    for row, label in enumerate(predicted, start=1):
        before, distances[0] = distances[0], row
        for column, other in enumerate(truth, start=1):
            replaced = before + (label != other)
            before = distances[column]
            distances[column] = min(before + 1, distances[column - 1] + 1, replaced)
    return 100 * (1 - distances[-1] / max(len(predicted), len(truth)))


def _f1(pairs: Sequence[tuple[Segments, Segments]], overlap: float) -> float:
    """Each predicted segment, in order, is right if the true one of its class that it overlaps most is free, and enough."""
    hits = num_predicted = num_true = 0
    for predicted, truth in pairs:
        taken: set[int] = set()
        for first, stop, label in predicted:
            overlaps = [
                (min(stop, end) - max(first, start)) / (max(stop, end) - min(first, start)) if other == label else 0.0
                for start, end, other in truth
            ]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best >= 0 and overlaps[best] >= overlap and best not in taken:
                taken.add(best)
        hits += len(taken)
        num_predicted += len(predicted)
        num_true += len(truth)
    return 100 * 2 * hits / (num_predicted + num_true) if num_predicted + num_true else 100.0
