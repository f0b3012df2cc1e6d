"""Whether one model is better than another on the same videos: tests that look at the videos on which they differ.

Shapes: N videos, K classes, B draws.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videoadapt.evaluation.intervals import Interval, bootstrap_interval, map_of_draws


class Changes(NamedTuple):
    """How many videos both have right, only the first, only the second, and neither."""

    both: int
    lost: int
    gained: int
    neither: int

    @property
    def p(self) -> float:
        """McNemar's exact test, two-sided: as unequal a division of the videos on which they differ, by a fair coin."""
        differing, fewer = self.lost + self.gained, min(self.lost, self.gained)
        tail = sum(math.comb(differing, number) for number in range(fewer + 1))
        return min(1.0, 2 * tail / 2**differing)


def changes(first_N: NDArray[np.bool_], second_N: NDArray[np.bool_]) -> Changes:
    """Count the videos that each has right."""
    pairs = [first_N & second_N, first_N & ~second_N, ~first_N & second_N, ~first_N & ~second_N]
    return Changes(*(int(of_N.sum()) for of_N in pairs))


def difference_interval(
    first_N: NDArray[np.bool_], second_N: NDArray[np.bool_], groups: Sequence[str]
) -> Interval | None:
    """The 95 % interval of second minus first, in points: groups of videos are drawn, with the answers of both."""
    return bootstrap_interval(second_N.astype(np.float64) - first_N, groups)


def map_difference_interval(
    first_NK: NDArray[np.floating], second_NK: NDArray[np.floating], targets_NK: NDArray[np.bool_]
) -> Interval | None:
    """The same of mAP, by the scores of both for the same drawn videos; None for one video, or without a label."""
    first_B, second_B = (map_of_draws(scores_NK, targets_NK) for scores_NK in (first_NK, second_NK))
    if first_B is None or second_B is None:
        return None
    low, high = np.quantile(second_B - first_B, [0.025, 0.975])
    return float(low), float(high)
