"""Average precision, and the threshold at which one class is told best.

Shapes: N videos, E different scores among them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DEFAULT_THRESHOLD = 0.5  # of a probability


class _Cuts(NamedTuple):
    """What is found when the videos down to each of the different scores, from the highest, are called positive."""

    lowest_E: NDArray[np.float64]  # the score
    called_E: NDArray[np.integer]
    right_E: NDArray[np.integer]


def _cuts(scores_N: NDArray[np.floating], positive_N: NDArray[np.bool_]) -> _Cuts:
    order = np.argsort(-scores_N, kind="stable")
    falling_N = scores_N[order].astype(np.float64)
    last_E = np.flatnonzero(np.append(falling_N[1:] != falling_N[:-1], True))
    return _Cuts(falling_N[last_E], last_E + 1, np.cumsum(positive_N[order], dtype=np.int64)[last_E])


def average_precision(scores_N: NDArray[np.floating], positive_N: NDArray[np.bool_]) -> float | None:
    """Return the sum over falling scores of (R_n - R_n-1) P_n, recall and precision, from 0 to 1; None without a positive.

    As scikit-learn's `average_precision_score`: no interpolation, and videos of one score are called positive together, so
    that a class whose scores are all the same has the share of its positives.
    """
    if not positive_N.any():
        return None
    cuts = _cuts(scores_N, positive_N)
    gained_E = np.diff(cuts.right_E, prepend=0) / cuts.right_E[-1]
    return float((gained_E * cuts.right_E / cuts.called_E).sum())


def best_threshold(probs_N: NDArray[np.floating], positive_N: NDArray[np.bool_]) -> float:
    """Return the threshold from which on a probability is called positive with the highest F1.

    It lies half way between the least probability that is called positive and the next one, or 0; of equal F1 the fewest
    videos are called positive. DEFAULT_THRESHOLD without a positive.
    """
    if not positive_N.any():
        return DEFAULT_THRESHOLD
    cuts = _cuts(probs_N, positive_N)
    best = int(np.argmax(2 * cuts.right_E / (cuts.called_E + cuts.right_E[-1])))
    following = cuts.lowest_E[best + 1] if best + 1 < len(cuts.lowest_E) else 0.0
    return float((cuts.lowest_E[best] + following) / 2)
