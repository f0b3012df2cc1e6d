"""Unequal classes of a training list: how often each row is drawn in an epoch, and the rows of one epoch.

Shapes: N videos, K classes.
"""

import numpy as np
from numpy.typing import NDArray


def clips_of_each_class(videos_K: NDArray[np.int64], balance: float) -> NDArray[np.float64]:
    """How many of an epoch's N clips are of each class (K,), on average: in proportion to its videos to the power 1 - balance.

    0: as many as it has videos. 1: the same for all. A class without videos has none. The sum is that of the videos.
    """
    videos_K = videos_K.astype(np.float64)
    wanted_K = np.where(videos_K > 0, videos_K ** (1 - balance), 0.0)
    return wanted_K * (videos_K.sum() / max(wanted_K.sum(), 1))


class BalancedRows:
    """The rows of each epoch, drawn so that rare classes come more often than their videos are many."""

    def __init__(self, labels_N: NDArray[np.int64], balance: float):
        """`balance` from 0, every row once, to 1, every class equally often."""
        _, self._class_N = np.unique(labels_N, return_inverse=True)
        self._videos_K = np.bincount(self._class_N)
        self._clips_K = clips_of_each_class(self._videos_K, balance)

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return N rows in random order, and for each how many times the epoch has drawn it before.

        Systematic sampling: rows stand in a line, those of a class together and shuffled, each as long as it is often, and
        every point at a whole distance from a random start draws the row that it falls on. So a row, and a class, is drawn
        as often as it should be, rounded up or down.
        """
        num = len(self._class_N)
        line_N = rng.permutation(num)
        line_N = line_N[np.argsort(self._class_N[line_N], kind="stable")]
        often_N = (self._clips_K / self._videos_K)[self._class_N[line_N]]
        ends_N = np.floor(np.cumsum(often_N) + rng.random()).astype(np.int64)
        ends_N[-1] = num  # whatever the rounding of the sum
        times_N = np.diff(ends_N, prepend=0)
        rows_N = np.repeat(line_N, times_N)
        before_N = np.arange(num) - np.repeat(ends_N - times_N, times_N)
        order_N = rng.permutation(num)
        return rows_N[order_N], before_N[order_N]
