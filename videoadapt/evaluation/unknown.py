"""Whether a video shows none of the known actions: scores that are high where it seems known, and how well they tell.

Shapes: N videos (M of training), K classes, D width of the feature that the head sees.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 256  # videos whose distances to all of the training are held together


def msp(log_probs_NK: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the greatest probability of each video (N,) (Hendrycks and Gimpel 2017, section 2)."""
    return np.exp(log_probs_NK.astype(np.float64)).max(axis=1)


def energy(logits_NK: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return log of the sum of exp of the logits (N,): the negative energy at T = 1 (Liu et al. 2020, equation 4)."""
    logits_NK = logits_NK.astype(np.float64)
    top_N = logits_NK.max(axis=1)
    found: NDArray[np.float64] = top_N + np.log(np.exp(logits_NK - top_N[:, None]).sum(axis=1))
    return found


class Gaussians(NamedTuple):
    """A normal distribution of each class with one covariance for all, of the features of training videos."""

    means_KD: NDArray[np.float64]
    whitening_DR: NDArray[np.float64]  # its square is the inverse of the covariance, in the R directions that vary

    @property
    def rank(self) -> int:
        """In how many directions features of a class differ; less than D where the training has few videos."""
        return self.whitening_DR.shape[1]


def fit_gaussians(features_MD: NDArray[np.floating], labels_M: NDArray[np.integer]) -> Gaussians:
    """Fit means and the shared covariance (Lee et al. 2018, equation 1), of the classes that have a video.

    Directions in which no class varies are left out, as by the pseudo-inverse of the covariance.
    """
    features_MD = features_MD.astype(np.float64)
    _, class_M = np.unique(labels_M, return_inverse=True)
    means_KD = np.stack([features_MD[class_M == number].mean(axis=0) for number in range(class_M.max() + 1)])
    off_MD = features_MD - means_KD[class_M]
    variances_D, directions_DD = np.linalg.eigh(off_MD.T @ off_MD / len(features_MD))
    varies_D = variances_D > variances_D.max() * len(variances_D) * np.finfo(np.float64).eps
    return Gaussians(means_KD, directions_DD[:, varies_D] / np.sqrt(variances_D[varies_D]))


def mahalanobis(features_ND: NDArray[np.floating], fitted: Gaussians) -> NDArray[np.float64]:
    """Return minus the squared Mahalanobis distance to the nearest class (N,) (Lee et al. 2018, equation 2)."""
    white_NR = features_ND.astype(np.float64) @ fitted.whitening_DR
    means_KR = fitted.means_KD @ fitted.whitening_DR
    squared_NK = np.stack([((white_NR - mean_R) ** 2).sum(axis=1) for mean_R in means_KR], axis=1)
    return -squared_NK.min(axis=1)


def knn(features_ND: NDArray[np.floating], training_MD: NDArray[np.floating], k: int) -> NDArray[np.float64]:
    """Return minus the distance to the k-th nearest video of the training (N,), both of length 1 (Sun et al. 2022, section 3).

    Raises ValueError where the training has fewer than k videos.
    """
    if not 1 <= k <= len(training_MD):
        raise ValueError(f"k = {k}: allowed: 1 to {len(training_MD)}, the videos of the training")
    unit_ND, unit_MD = _of_length_1(features_ND), _of_length_1(training_MD)
    found_N = np.empty(len(unit_ND))
    for row in range(0, len(unit_ND), _AT_ONCE):
        squared_NM = 2 - 2 * unit_ND[row : row + _AT_ONCE] @ unit_MD.T
        found_N[row : row + _AT_ONCE] = np.partition(squared_NM, k - 1, axis=1)[:, k - 1]
    return -np.sqrt(np.maximum(found_N, 0))


def auroc(known_N: NDArray[np.floating], unknown_N: NDArray[np.floating]) -> float:
    """Return the share of pairs in which the known video scores higher, equal scores counting half: the area under the ROC.

    Raises ValueError without a video of each kind.
    """
    if not len(known_N) or not len(unknown_N):
        raise ValueError("auroc needs a known and an unknown video")
    ordered_N = np.sort(unknown_N)
    below_N, up_to_N = (np.searchsorted(ordered_N, known_N, side=side) for side in ("left", "right"))
    return float((below_N + up_to_N).mean() / 2 / len(unknown_N))


def fpr95(known_N: NDArray[np.floating], unknown_N: NDArray[np.floating]) -> float:
    """Return the share of unknown videos that pass for known where at least 95 % of the known ones do."""
    return float((unknown_N >= threshold(known_N, 0.05)).mean())


def threshold(known_N: NDArray[np.floating], rejected: float) -> float:
    """Return the highest score below which at most the share `rejected` of the known videos lie: those would be rejected.

    Raises ValueError without a known video.
    """
    if not len(known_N):
        raise ValueError("a threshold needs a known video")
    return float(np.sort(known_N)[int(np.floor(rejected * len(known_N) + 1e-9))])


def _of_length_1(features_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    features_ND = features_ND.astype(np.float64)
    found: NDArray[np.float64] = features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-12)
    return found
