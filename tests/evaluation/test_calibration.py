"""The expected calibration error against a case counted by hand, and against its definition written out."""

import numpy as np
import pytest

from videoadapt.evaluation.calibration import calibration


def test_a_case_by_hand() -> None:
    """Two bins: 0.2 and 0.5 (which belongs to the lower one), half of them right; 0.6, 0.9 and 1.0, all right."""
    found = calibration(np.array([0.5, 0.2, 0.6, 0.9, 1.0]), np.array([True, False, True, True, True]), bins=2)
    assert found.videos_M.tolist() == [2, 3]
    np.testing.assert_allclose(found.confidence_M, [0.35, 2.5 / 3])
    np.testing.assert_allclose(found.right_M, [0.5, 1.0])
    assert found.error == pytest.approx(2 / 5 * 0.15 + 3 / 5 * (1 - 2.5 / 3))


def test_it_is_the_definition() -> None:
    """Guo et al. 2017: |B_m| / n |acc(B_m) - conf(B_m)| over bins that hold what is above (m - 1) / M and up to m / M."""
    rng = np.random.default_rng(0)
    confidence_N = rng.uniform(size=500)
    right_N = rng.uniform(size=500) < confidence_N**2
    error = 0.0
    for m in range(15):
        of_bin = [i for i in range(500) if m / 15 < confidence_N[i] <= (m + 1) / 15]
        if of_bin:
            error += len(of_bin) / 500 * abs(np.mean(right_N[of_bin]) - np.mean(confidence_N[of_bin]))
    found = calibration(confidence_N, right_N).error
    assert found == pytest.approx(error, abs=1e-12) and found is not None and found > 0.1  # it is far too confident


def test_a_model_that_is_as_often_right_as_it_says_has_no_error() -> None:
    right_N = np.repeat([True, False], [3, 1])
    assert calibration(np.full(4, 0.75), right_N).error == pytest.approx(0)
    assert calibration(np.zeros(2), np.array([False, False])).error == 0  # 0 is in the first bin
    assert calibration(np.zeros(0), np.zeros(0, dtype=bool)).error is None
