"""What a test left is read back as it was counted, and refused where its two files do not belong together."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.made_tests import leave_test
from videoadapt.errors import VideoAdaptError
from videoadapt.evaluation import tested
from videoadapt.evaluation.average_precision import average_precision
from videoadapt.evaluation.intervals import (
    accuracy_interval,
    bootstrap_interval,
    bootstrap_map_interval,
    share_interval,
)

LOGITS_NVK = np.array([
    [[2.0, 0.0, 1.0], [4.0, 0.0, 1.0]],  # 0, as both views say
    [[0.0, 1.0, 1.0], [0.0, 5.0, 0.0]],  # 1: the first view alone has an equal ahead of it
    [[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]],  # 2 is called 0
    [[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]],  # unreadable
])  # fmt: skip


def test_scores_of_one_label_by_hand(tmp_path: Path) -> None:
    found = tested.Tested(leave_test(tmp_path, "abc", [0, 1, 2, 0], LOGITS_NVK, unreadable={3: "no film"}))
    assert found.correct_N.tolist() == [True, True, False, False]
    assert found.predicted_N.tolist() == [0, 1, 0, -1] and found.readable_N.tolist() == [True, True, True, False]
    assert found.score == 50 and found.score_of_each_view() == [25, 50]
    np.testing.assert_allclose(found.probs_NK[0], np.exp([3, 0, 1]) / np.exp([3, 0, 1]).sum(), rtol=1e-6)
    assert found.probs_NK[3].tolist() == [0, 0, 0]


def test_scores_of_several_labels_by_hand(tmp_path: Path) -> None:
    """Of class a the first of two is right: AP 1, and half of it the other way round; nobody has b."""
    logits_NVK = np.array([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]])
    found = tested.Tested(leave_test(tmp_path, "ab", [(0,), ()], logits_NVK))
    assert found.is_multi and found.score == 100 and list(found.average_precisions()) == [1, None]
    assert found.score_of_each_view() == [100, 50]
    np.testing.assert_allclose(found.probs_NK[:, 0], 1 / (1 + np.exp([-1, -0.5])), rtol=1e-6)


def test_files_of_two_tests_are_refused(tmp_path: Path) -> None:
    folder = leave_test(tmp_path, "abc", [0, 1, 2, 0], LOGITS_NVK)
    stale = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**stale, "top1": 12.5}))
    with pytest.raises(VideoAdaptError, match=r"predictions.npz: is of another test than results.json beside it"):
        tested.Tested(folder)
    (folder / "predictions.npz").write_bytes((folder / "predictions.npz").read_bytes()[:300])
    with pytest.raises(VideoAdaptError, match=r"predictions.npz: cannot be read"):
        tested.Tested(folder)
    (folder / "results.json").write_text("[]")
    with pytest.raises(VideoAdaptError, match=r"results.json: is damaged"):
        tested.Tested(folder)


def test_the_interval_of_map_is_that_of_its_draws() -> None:
    """The same 500 draws, each by average precision itself."""
    rng = np.random.default_rng(1)
    targets_NK = np.zeros((30, 3), dtype=bool)
    targets_NK[[3, 17], 0] = targets_NK[::4, 1] = targets_NK[::2, 2] = True  # in some draws nobody has the first
    scores_NK = (targets_NK + rng.normal(size=(30, 3))).round(1)  # with equal scores
    draws, means = np.random.default_rng(0), []
    for _ in range(500):
        drawn = draws.integers(30, size=30)
        found = [average_precision(scores_NK[drawn, k], targets_NK[drawn, k]) for k in range(3)]
        means.append(100 * np.mean([ap for ap in found if ap is not None]))
    value = 100 * np.mean([average_precision(scores_NK[:, k], targets_NK[:, k]) for k in range(3)])
    mirrored = 2 * value - np.quantile(means, [0.975, 0.025])
    np.testing.assert_allclose(bootstrap_map_interval(scores_NK, targets_NK), [mirrored[0], min(100, mirrored[1])])
    assert bootstrap_map_interval(scores_NK, targets_NK & False) is None


def test_the_interval_of_map_holds_that_of_all_videos() -> None:
    """In 85 of 100 trials (60 here: 14 points are three standard errors); the quantiles of the draws do in 38."""
    rng = np.random.default_rng(0)

    def drawn(num_videos: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        targets_NK = rng.random((num_videos, num_classes)) < 0.02
        return rng.normal(size=targets_NK.shape) + 2 * targets_NK, targets_NK

    scores_NK, targets_NK = drawn(400_000, 1)
    of_all = average_precision(scores_NK[:, 0], targets_NK[:, 0])
    found = [bootstrap_map_interval(*drawn(300, 20)) for _ in range(60)]
    assert of_all is not None and sum(low <= 100 * of_all <= high for low, high in filter(None, found)) >= 0.7 * 60


def test_the_interval_over_groups_is_wider_where_they_are_alike() -> None:
    right_N = np.repeat(np.arange(20) % 2, 10).astype(float)
    videos = bootstrap_interval(right_N, [str(n) for n in range(200)])
    groups = bootstrap_interval(right_N, [str(n // 10) for n in range(200)])
    assert videos is not None and groups is not None
    # 1.96 sqrt(p (1 - p) / n): 6.9 points of 200 videos, 21.9 of 20 groups
    assert videos[1] - videos[0] == pytest.approx(13.9, abs=1.5) and groups[1] - groups[0] == pytest.approx(43.8, abs=5)


@pytest.mark.parametrize("right", [0.0, 1.0])
@pytest.mark.parametrize("num", [2, 3, 160])
def test_where_all_or_none_are_right_the_interval_is_exact(right: float, num: int) -> None:
    from scipy.stats import binomtest  # slow to import: each process that runs tests reads all their files

    right_N, names = np.full(2 * num, right), [str(n // 2) for n in range(2 * num)]
    expected = [100 * bound for bound in binomtest(int(right) * num, num).proportion_ci(method="exact")]
    assert accuracy_interval(right_N, names) == pytest.approx(expected)
    assert share_interval(right_N[:num] > 0) == pytest.approx(expected)
    assert bootstrap_interval(right_N - right, names) == (0.0, 0.0)  # a difference of nothing anywhere
    some_N = np.where(np.arange(2 * num) < 2, 1 - right, right)
    assert accuracy_interval(some_N, names) == bootstrap_interval(some_N, names)
