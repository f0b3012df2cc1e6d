"""Scores of unknown actions and what they are judged by, against cases by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from videoadapt.evaluation.unknown import auroc, energy, fit_gaussians, fpr95, knn, mahalanobis, msp, threshold


def test_two_scores_of_logits_by_hand() -> None:
    logits_NK = np.array([[0.0, np.log(3.0)], [1000.0, 1000.0]])
    np.testing.assert_allclose(energy(logits_NK), [np.log(4), 1000 + np.log(2)])
    np.testing.assert_allclose(msp(np.log([[0.25, 0.75], [0.5, 0.5]])), [0.75, 0.5])


@pytest.mark.parametrize("num_videos", [60, 9])  # more than directions, and fewer
def test_mahalanobis_is_scikit_learns(num_videos: int) -> None:
    rng = np.random.default_rng(0)
    training_MD, asked_ND = rng.normal(size=(num_videos, 12)) @ rng.normal(size=(12, 12)), rng.normal(size=(7, 12))
    labels_M = np.arange(num_videos) % 3 + 5  # a class without a video has no mean
    fitted = fit_gaussians(training_MD.astype(np.float32), labels_M)
    assert fitted.rank == min(12, num_videos - 3) and len(fitted.means_KD) == 3
    training_MD = training_MD.astype(np.float32).astype(np.float64)
    means = {label: training_MD[labels_M == label].mean(axis=0) for label in (5, 6, 7)}
    centred = training_MD - np.stack([means[label] for label in labels_M])
    theirs = EmpiricalCovariance(assume_centered=True).fit(centred)
    wanted_N = -np.min([theirs.mahalanobis(asked_ND - mean) for mean in means.values()], axis=0)
    np.testing.assert_allclose(mahalanobis(asked_ND, fitted), wanted_N, rtol=1e-6)


def test_knn_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    training_MD, asked_ND = rng.normal(size=(40, 6)), rng.normal(size=(300, 6))  # more than are looked at together
    units = [of / np.linalg.norm(of, axis=1, keepdims=True) for of in (training_MD, asked_ND)]
    wanted_NK, _ = NearestNeighbors(n_neighbors=5).fit(units[0]).kneighbors(units[1])
    np.testing.assert_allclose(knn(asked_ND * 7, training_MD, 5), -wanted_NK[:, 4], atol=1e-7)
    assert knn(training_MD, training_MD, 1) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="k = 41: allowed: 1 to 40"):
        knn(asked_ND, training_MD, 41)


def test_auroc_and_fpr95_by_hand() -> None:
    known_N, unknown_N = np.array([3.0, 2.0, 1.0]), np.array([2.0, 0.0])
    assert auroc(known_N, unknown_N) == pytest.approx((2 + 1.5 + 1) / 6)
    assert fpr95(known_N, unknown_N) == 0.5  # all known ones pass from 1 on, and with them 2.0
    assert auroc(np.ones(3), np.ones(4)) == 0.5 and fpr95(np.ones(3), np.ones(4)) == 1  # it tells nothing
    with pytest.raises(ValueError, match="an unknown video"):
        auroc(known_N, unknown_N[:0])


def test_auroc_and_fpr95_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    known_N, unknown_N = rng.normal(1, size=201).round(1), rng.normal(size=150).round(1)  # many are equal
    is_known, scores = np.repeat([1, 0], [201, 150]), np.concatenate([known_N, unknown_N])
    assert auroc(known_N, unknown_N) == pytest.approx(roc_auc_score(is_known, scores), abs=1e-12)
    passed_wrongly, passed, _ = roc_curve(is_known, scores, drop_intermediate=False)
    assert fpr95(known_N, unknown_N) == pytest.approx(passed_wrongly[np.argmax(passed >= 0.95)], abs=1e-12)


@pytest.mark.parametrize(("rejected", "wanted"), [(0.0, 0), (0.05, 5), (0.29, 29), (0.055, 5), (0.999, 99)])
def test_threshold_rejects_no_more_than_the_share(rejected: float, wanted: int) -> None:
    known_N = np.random.default_rng(0).permutation(100).astype(float)
    assert (known_N < threshold(known_N, rejected)).sum() == wanted
