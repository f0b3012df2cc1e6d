"""Folds: groups stay whole, classes are spread as evenly as that allows."""

from collections import Counter

import numpy as np
import pytest

from videoadapt.data.folds import divide, group_names, groups_per_class
from videoadapt.errors import DataListError


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_folds", [2, 3, 5])
def test_no_group_is_in_two_folds(num_folds: int, seed: int) -> None:
    """Groups of 1 to 9 videos, of several classes each, classes of very different sizes."""
    generator = np.random.default_rng(seed)
    groups = [str(group) for group in range(60) for _ in range(generator.integers(1, 10))]
    labels_N = generator.choice(4, size=len(groups), p=[0.5, 0.3, 0.15, 0.05])
    fold_N = divide(labels_N, groups, num_folds, seed)
    assert set(fold_N.tolist()) == set(range(num_folds))
    assert max(Counter(g for g, _ in {*zip(groups, fold_N.tolist(), strict=True)}).values()) == 1
    for label, count in Counter(labels_N.tolist()).items():
        shares = [((fold_N == fold) & (labels_N == label)).sum() / count for fold in range(num_folds)]
        assert max(shares) - min(shares) < 0.12 + 6 / count, (label, shares)


def test_videos_alone_are_divided_as_evenly_as_can_be() -> None:
    labels_N = np.repeat([0, 1, 2], [10, 7, 23])
    groups = [f"v{row}" for row in range(40)]
    fold_N = divide(labels_N, groups, 4)
    for label in range(3):
        counts = np.bincount(fold_N[labels_N == label], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert np.bincount(fold_N).max() <= 11
    assert np.array_equal(fold_N, divide(labels_N, groups, 4)) and not np.array_equal(
        fold_N, divide(labels_N, groups, 4, 1)
    )


def test_one_group_a_class_in_each_fold() -> None:
    """As many groups as folds for every class, of one size: the only even division."""
    labels_N, groups = (
        np.repeat(np.arange(4), 15),
        [f"{label}_{g}" for label in range(4) for g in range(5) for _ in range(3)],
    )
    fold_N = divide(labels_N, groups, 5)
    assert all(np.bincount(fold_N[labels_N == label]).tolist() == [3] * 5 for label in range(4))


def test_a_group_of_several_classes() -> None:
    labels_N, groups = np.array([0, 1, 0, 1, 0, 1]), ["a", "a", "b", "b", "c", "c"]
    assert sorted(divide(labels_N, groups, 3).tolist()) == [0, 0, 1, 1, 2, 2]
    assert groups_per_class(labels_N, groups) == {0: 3, 1: 3}
    assert groups_per_class(np.array([0, 0, 1]), ["a", "a", "b"]) == {0: 1, 1: 1}


def test_groups_by_a_pattern() -> None:
    names = ["wave/film_a_clip1.mp4", "wave/film_b_clip1.mp4"]
    assert group_names(names, r"([^/]+)_clip", "folds.group") == ["film_a", "film_b"]
    assert group_names(names, r"film_.", "folds.group") == ["film_a", "film_b"]
    for group, said in (
        ("(", "is no regular expression"),
        ("film_(c)?", "folds.group = .* finds nothing in 'wave/film_a_clip1.mp4'"),
    ):
        with pytest.raises(DataListError, match=said):
            group_names(names, group, "folds.group")
