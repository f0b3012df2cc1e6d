"""Average precision, thresholds and F1 of videos with several labels, against what a few lines of counting say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from videoadapt.data.structures import Video
from videoadapt.evaluation.average_precision import average_precision, best_threshold
from videoadapt.evaluation.multi_label import MultiPredictions
from videoadapt.evaluation.predictions import average_views


def counted(scores: list[float], positive: list[bool]) -> float:
    """The definition: for each different score, the gain in recall times the precision of all that score as much or more."""
    found, before = 0.0, 0.0
    for score in sorted(set(scores), reverse=True):
        called = [p for s, p in zip(scores, positive, strict=True) if s >= score]
        recall = sum(called) / sum(positive)
        found += (recall - before) * sum(called) / len(called)
        before = recall
    return found


def predictions(
    logits: list[list[float]], labels: list[tuple[int, ...]], unreadable: tuple[int, ...] = (), average: str = "logits"
) -> MultiPredictions:
    videos = [Video(f"{row}", Path(f"{row}"), -1, row + 1, None, of) for row, of in enumerate(labels)]
    logits_N1K = np.array(logits, dtype=np.float32)[:, None]
    logits_N1K[list(unreadable)] = np.nan
    return MultiPredictions(videos, logits_N1K, dict.fromkeys(unreadable, "torn"), average)  # type: ignore[arg-type]


@pytest.mark.parametrize("different", [3, 10, 10_000])
def test_average_precision_of_random_scores_with_ties(different: int) -> None:
    rng = np.random.default_rng(different)
    for _ in range(100):
        scores_N = rng.integers(0, different, 30) / 7
        positive_N = rng.random(30) < rng.random()
        positive_N[rng.integers(30)] = True
        assert average_precision(scores_N, positive_N) == pytest.approx(counted(scores_N.tolist(), positive_N.tolist()))


def test_average_precision_as_scikit_learn_documents_it() -> None:
    assert average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])) == pytest.approx(
        0.8333, abs=1e-4
    )
    assert average_precision(np.ones(4), np.array([True, False, False, False])) == 0.25  # scores that say nothing
    assert average_precision(np.ones(4), np.zeros(4, dtype=bool)) is None


def test_a_threshold_has_the_highest_f1_and_calls_the_fewest() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        probs_N, positive_N = rng.integers(0, 12, 25) / 11, rng.random(25) < 0.4
        positive_N[0] = True

        def f1(threshold: float, probs_N: np.ndarray = probs_N, positive_N: np.ndarray = positive_N) -> float:
            called_N = probs_N >= threshold
            return 2 * (called_N & positive_N).sum() / (called_N.sum() + positive_N.sum())

        threshold = best_threshold(probs_N, positive_N)
        candidates = np.unique(probs_N)
        assert f1(threshold) == max(map(f1, candidates))
        assert all(f1(c) < f1(threshold) for c in candidates if (probs_N >= c).sum() < (probs_N >= threshold).sum())
        assert threshold not in candidates or threshold == 0
    assert best_threshold(np.array([0.9, 0.3, 0.2]), np.array([True, True, False])) == pytest.approx(0.25)
    assert best_threshold(np.array([0.9, 0.3]), np.array([False, False])) == 0.5


def test_measures_by_hand() -> None:
    """Class 0: ranks + - +, so (1 + 2/3) / 2. Class 1: - + -, so 1/2. Class 2 is of no video, and in no mean."""
    found = predictions([[3, 1, 0], [2, 2, 0], [1, -1, 9]], [(0,), (), (0, 1)])
    assert found.results()["mAP"] == pytest.approx(100 * (5 / 6 + 1 / 3) / 2, abs=1e-3)
    found.thresholds_K = torch.tensor([1.5, 1.5, 0.0]).sigmoid().double().numpy()
    # class 0 calls 0 and 1, right once; class 1 calls 1, wrongly; class 2 calls all three, wrongly
    results = found.results()
    assert results["macro_f1"] == 100 * (2 * 1 / (2 + 2) + 0) / 2
    assert results["micro_f1"] == pytest.approx(100 * 2 * 1 / (6 + 3), abs=1e-3)
    assert found.average_precisions()[2] is None and results["num_without_label"] == 1


def test_charades_leaves_out_films_without_an_action() -> None:
    """Its published evaluation gives them a score of minus infinity: they come behind every film that has one."""
    logits = [[5.0, 0.0], [4.0, 3.0], [3.0, 2.0], [2.0, 1.0]]
    found = predictions(logits, [(), (0,), (1,), (0, 1)])
    # class 0: + - +, class 1: - + +, of the last three films
    official = 100 * ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2
    results = found.results()
    assert results["labelled_only"]["mAP"] == pytest.approx(official, abs=1e-3)
    assert results["mAP"] < results["labelled_only"]["mAP"]  # where the film without an action counts as wrongly found
    assert predictions(logits[1:], [(0,), (1,), (0, 1)]).results()["mAP"] == results["labelled_only"]["mAP"]


def test_what_cannot_be_read_is_called_nothing_and_comes_last() -> None:
    found = predictions([[1.0, 1], [9, 9], [0, 0]], [(0,), (0,), (1,)], unreadable=(1,))
    results = found.results()
    assert found.average_precisions() == pytest.approx([(1 + 2 / 3) / 2, 1 / 2])
    assert results["readable_only"]["mAP"] == 75.0 and results["num_unreadable"] == 1
    assert found.probs_NK[1].tolist() == [0, 0] and found.counts().called_K.tolist() == [2, 2]
    assert found.loss() == pytest.approx(float(_bce([[1.0, 1], [0, 0]], [[1.0, 0], [0, 1]])))
    assert found.best_thresholds() == pytest.approx([(1 / (1 + np.exp(-1)) + 0.5) / 2, 0.25], abs=1e-6)


def _bce(logits: list[list[float]], targets: list[list[float]]) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits).double(), torch.tensor(targets).double()
    )


def test_views_are_averaged_as_sigmoids() -> None:
    logits_VK = torch.tensor([[0.0, 2.0], [4.0, -2.0]])
    expected = (logits_VK.double().sigmoid().mean(dim=0), logits_VK.double().mean(dim=0).sigmoid())
    assert torch.equal(average_views(logits_VK, "probs", labels="multi"), expected[0].float())
    assert torch.equal(average_views(logits_VK, "logits", as_probs=True, labels="multi"), expected[1].float())
    assert torch.equal(average_views(logits_VK, "logits", labels="multi"), logits_VK.mean(dim=0))
    probs = predictions([[0.0, 2.0]], [(0,)], average="probs").probs_NK
    assert probs[0].tolist() == pytest.approx(logits_VK[0].sigmoid().tolist())


def test_saturated_logits_still_rank() -> None:
    found = predictions([[50.0], [40.0], [45.0]], [(0,), (), (0,)])
    assert found.results()["mAP"] == 100.0
