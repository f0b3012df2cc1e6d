"""What probabilities are worth, against cases by hand, scikit-learn and scipy."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss

from videoadapt.evaluation.confidence import (
    aurc,
    brier,
    confidence,
    fit_temperature,
    log_probabilities,
    nll,
    right_of_surest,
    selective_accuracy,
    tempered,
)
from videoadapt.evaluation.predictions import average_views


def draw(sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (400, 5) and labels; at another `sharpness` than 1 they are too sure, or too unsure."""
    rng = np.random.default_rng(0)
    logits_NVK = rng.normal(scale=2, size=(400, 1, 5))
    probs_NK = np.exp(log_probabilities(logits_NVK, "logits"))
    labels_N = (probs_NK.cumsum(axis=1) < rng.uniform(size=(400, 1))).sum(axis=1)
    return log_probabilities(sharpness * logits_NVK, "logits"), labels_N


def test_nll_and_brier_by_hand_and_by_scikit_learn() -> None:
    log_probs_NK, labels_N = np.log([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]), np.array([0, 1])
    assert nll(log_probs_NK, labels_N) == pytest.approx(-(np.log(0.7) + np.log(0.3)) / 2)
    assert brier(np.exp(log_probs_NK), labels_N) == pytest.approx((0.09 + 0.04 + 0.01 + 0.09 + 0.49 + 0.16) / 2)
    log_probs_NK, labels_N = draw(3.0)
    assert nll(log_probs_NK, labels_N) == pytest.approx(log_loss(labels_N, np.exp(log_probs_NK)), abs=1e-9)
    probs_NK = np.exp(log_probs_NK)
    assert brier(probs_NK, labels_N) == pytest.approx(brier_score_loss(labels_N, probs_NK, scale_by_half=False))


def test_selective_accuracy_and_its_area() -> None:
    """Surest first: right, wrong, then two equally sure ones of which one is right, in either order."""
    sure_N, right_N = np.array([0.5, 0.9, 0.5, 0.8]), np.array([True, True, False, False])
    assert right_of_surest(sure_N, right_N).tolist() == [1, 1, 1.5, 2]
    risks = []
    for order in permutations([2, 0]):
        placed = right_N[[1, 3, *order]]
        risks.append(np.mean([1 - placed[:number].mean() for number in (1, 2, 3, 4)]))
    assert aurc(sure_N, right_N) == pytest.approx(np.mean(risks)) == pytest.approx(1.5 / 4)
    assert [selective_accuracy(sure_N, right_N, of) for of in (0.25, 0.3, 0.5, 1.0)] == [1, 0.5, 0.5, 0.5]
    assert selective_accuracy(np.arange(100.0), np.arange(100) >= 45, 0.55) == 1  # 0.55 * 100 is above 55


def test_views_average_as_the_run_does() -> None:
    logits_NVK = np.random.default_rng(1).normal(scale=3, size=(6, 4, 5)).astype(np.float32)
    for average in ("logits", "probs"):
        wanted_NK = average_views(torch.from_numpy(logits_NVK), average, as_probs=True)
        np.testing.assert_allclose(np.exp(log_probabilities(logits_NVK, average)), wanted_NK, atol=1e-7)
    far = np.array([[[0.0, -2000.0], [0.0, -3000.0]]])  # softmax is 0 there; the log of the mean is not
    np.testing.assert_allclose(log_probabilities(far, "probs")[0, 1], -2000 - np.log(2))


@pytest.mark.parametrize("sharpness", [4.0, 0.25])
def test_temperature_is_the_one_that_scipy_finds(sharpness: float) -> None:
    log_probs_NK, labels_N = draw(sharpness)
    theirs = minimize_scalar(
        lambda of: nll(tempered(log_probs_NK, of), labels_N), bounds=(0.05, 20), options={"xatol": 1e-9}
    )
    found = fit_temperature(log_probs_NK, labels_N)
    assert found == pytest.approx(theirs.x, rel=1e-5)
    assert found == pytest.approx(sharpness, rel=0.2)  # the labels were drawn at 1
    before, after = (confidence(of, labels_N) for of in (log_probs_NK, tempered(log_probs_NK, found)))
    assert before is not None and after is not None and after.accuracy == before.accuracy
    assert after.nll < before.nll - 0.05 and after.brier < before.brier and after.ece < before.ece / 2


def test_what_has_no_temperature_says_so() -> None:
    log_probs_NK = np.log([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    assert fit_temperature(log_probs_NK, np.array([0, 1, 1])) is None  # all right
    assert fit_temperature(log_probs_NK, np.array([1, 0, 0])) is None  # all wrong
    assert fit_temperature(log_probs_NK, np.array([0, 0, 1])) is not None
    assert (
        fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int)) is None
        and confidence(np.zeros((0, 2)), np.zeros(0, int)) is None
    )


def test_a_model_that_says_the_same_of_all_classes_is_wrong() -> None:
    found = confidence(np.full((4, 2), np.log(0.5)), np.array([0, 1, 0, 1]))
    assert (
        found is not None and found.accuracy == 0 and found.accuracy_at_80 == 0 and found.aurc == 1 and found.ece == 0.5
    )
