"""What probabilities are worth, and one temperature that makes them worth more.

Shapes: N videos, V views, K classes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videoadapt.evaluation.calibration import calibration
from videoadapt.evaluation.predictions import Average

HOTTEST = 100.0  # a temperature is looked for from 1 / HOTTEST to this


class Confidence(NamedTuple):
    """How good the probabilities of some videos are; all but `accuracy` the lower the better. Shares are from 0 to 1."""

    accuracy: float
    nll: float
    brier: float
    ece: float
    aurc: float
    accuracy_at_80: float  # of the 80 % of the videos that are surest


def confidence(log_probs_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> Confidence | None:
    """Return all of these for log-probabilities and labels; None without a video.

    A video is right where no other class is as probable as its own, as everywhere; it is as sure as its most probable class.
    """
    if not len(labels_N):
        return None
    probs_NK = np.exp(log_probs_NK.astype(np.float64))
    own_N1 = np.take_along_axis(log_probs_NK, labels_N[:, None], axis=1)
    right_N, sure_N = (log_probs_NK >= own_N1).sum(axis=1) == 1, probs_NK.max(axis=1)
    error = calibration(sure_N, right_N).error
    assert error is not None
    return Confidence(
        float(right_N.mean()),
        nll(log_probs_NK, labels_N),
        brier(probs_NK, labels_N),
        error,
        aurc(sure_N, right_N),
        selective_accuracy(sure_N, right_N, 0.8),
    )


def nll(log_probs_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood of the labels, in nats."""
    own_N1 = np.take_along_axis(log_probs_NK.astype(np.float64), labels_N[:, None], axis=1)
    return -float(own_N1.mean())


def brier(probs_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> float:
    """Return the mean over videos of the squared error summed over classes, from 0 to 2 (Brier 1950, equation 2)."""
    wanted_NK = np.eye(probs_NK.shape[1])[labels_N]
    return float(((probs_NK - wanted_NK) ** 2).sum(axis=1).mean())


def right_of_surest(sure_N: NDArray[np.floating], right_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how many of the surest 1, 2, ... N videos are right (N,); of equally sure ones, in the mean over their orders."""
    _, group_N, size_G = np.unique(-sure_N, return_inverse=True, return_counts=True)
    share_G = np.bincount(group_N, weights=right_N.astype(np.float64)) / size_G
    return np.cumsum(np.repeat(share_G, size_G))


def selective_accuracy(sure_N: NDArray[np.floating], right_N: NDArray[np.bool_], coverage: float) -> float:
    """Return the accuracy on the surest videos, so many that they are at least `coverage` (above 0, up to 1) of all."""
    number = max(1, _ceil(coverage * len(sure_N)))
    return float(right_of_surest(sure_N, right_N)[number - 1] / number)


def aurc(sure_N: NDArray[np.floating], right_N: NDArray[np.bool_]) -> float:
    """Return the area under the risk-coverage curve: the mean of the error rates of the surest 1, 2, ... N videos.

    As Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", section 2.
    """
    number_N = np.arange(1, len(sure_N) + 1)
    return float((1 - right_of_surest(sure_N, right_N) / number_N).mean())


def log_probabilities(logits_NVK: NDArray[np.floating], average: Average) -> NDArray[np.float64]:
    """Return the log of the probabilities (N, K) that views average to, in float64: a probability of 1e-200 is not 0.

    `logits`: log softmax of the mean of the logits. `probs`: log of the mean of their softmaxes.
    """
    logits_NVK = logits_NVK.astype(np.float64)
    if average == "logits":
        return _log_softmax(logits_NVK.mean(axis=1))
    return _log_sum_exp(_log_softmax(logits_NVK), axis=1)[:, 0] - np.log(logits_NVK.shape[1])


def tempered(log_probs_NK: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return log softmax(log p / T): of averaged logits z that is log softmax(z / T), of averaged p it is p^(1/T) over its sum.

    So no class overtakes another, whichever of the two a run averages, and accuracies stay as they are.
    """
    return _log_softmax(log_probs_NK / temperature)


def fit_temperature(log_probs_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> float | None:
    """Return the temperature with the least negative log-likelihood (Guo et al. 2017, section 4.2).

    That is convex in 1/T, so halving to where its slope changes sign finds the only least value. None where there is none
    from 1 / HOTTEST to HOTTEST: without a video, where all are right (surer is then always better), or where equal
    probabilities are better than the model's.
    """
    own_N = np.take_along_axis(log_probs_NK, labels_N[:, None], axis=1)[:, 0]

    def falls(log_inverse: float) -> bool:
        probs_NK = np.exp(_log_softmax(log_probs_NK * np.exp(log_inverse)))
        return bool(((probs_NK * log_probs_NK).sum(axis=1) - own_N).mean() < 0)

    low, high = -np.log(HOTTEST), np.log(HOTTEST)
    if not len(own_N) or (own_N == log_probs_NK.max(axis=1)).all() or not falls(low) or falls(high):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) else (low, middle)
    return float(np.exp(-low))


def _ceil(number: float) -> int:
    """Up to a whole number, one that a product like 0.55 * 100 has missed in its last bits not to the next."""
    return int(np.ceil(number - 1e-9))


def _log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    return (logits - _log_sum_exp(logits, axis=-1)).astype(np.float64)


def _log_sum_exp(values: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    top = values.max(axis=axis, keepdims=True)
    found: NDArray[np.floating] = top + np.log(np.exp(values - top).sum(axis=axis, keepdims=True))
    return found
