"""Whether a model is right as often as it says: a reliability diagram's numbers, and the expected calibration error.

Shapes: N videos, M bins.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15  # as Guo et al. 2017, "On Calibration of Modern Neural Networks", and most after them


class Calibration(NamedTuple):
    """Of each bin (M,) of equal width: how many videos, the mean of their confidences, the share that is right; 0 if empty."""

    videos_M: NDArray[np.int64]
    confidence_M: NDArray[np.float64]
    right_M: NDArray[np.float64]

    @property
    def error(self) -> float | None:
        """Expected calibration error from 0 to 1: the gaps of the bins, by their videos (equation 3); None without videos."""
        if not (total := self.videos_M.sum()):
            return None
        return float((self.videos_M * np.abs(self.right_M - self.confidence_M)).sum() / total)


def calibration(confidence_N: NDArray[np.float64], right_N: NDArray[np.bool_], bins: int = BINS) -> Calibration:
    """Sort videos by the probability of what they were called, from 0 to 1, into bins ((m - 1) / M, m / M], 0 in the first."""
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(np.int64) - 1, 0, bins - 1)
    videos_M = np.bincount(bin_N, minlength=bins)
    sums = (np.bincount(bin_N, weights=of, minlength=bins) for of in (confidence_N, right_N.astype(np.float64)))
    return Calibration(videos_M, *(of_M / np.maximum(videos_M, 1) for of_M in sums))
