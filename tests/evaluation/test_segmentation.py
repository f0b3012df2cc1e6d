"""Frame accuracy, edit score and F1 of segments on cases worked out by hand, after MS-TCN's definitions."""

import numpy as np
import pytest

from videoadapt.errors import ConfigError
from videoadapt.evaluation.segmentation import SegmentScores, segment_scores


def frames(text: str) -> np.ndarray:
    """Labels by letter; a dot is nothing."""
    return np.array([-1 if letter == "." else ord(letter) - ord("a") for letter in text], dtype=np.int64)


def scores(predicted: str, truth: str) -> SegmentScores:
    return segment_scores([frames(predicted)], [frames(truth)])


def test_a_perfect_film() -> None:
    assert scores("aabb..cc", "aabb..cc") == SegmentScores(100, 100, {0.1: 100, 0.25: 100, 0.5: 100})


def test_a_boundary_that_is_late() -> None:
    found = scores("aaaaaaaabb", "aaaabbbbbb")  # overlaps of a 4/8, of b 2/6
    assert found.accuracy == 60 and found.edit == 100
    assert found.f1 == {0.1: 100, 0.25: 100, 0.5: 50}  # of b too little at 0.5: 2 * 1 / (2 + 2)


def test_pieces_of_one_segment_count_against() -> None:
    found = scores("aabaaaaaaa", "aaaaaaaaaa")
    assert found.accuracy == 90
    assert found.edit == pytest.approx(100 * (1 - 2 / 3))  # two of aba taken out
    # the first piece overlaps by 2/10, and takes the segment at 0.1; the long one, 7/10, comes too late there
    assert found.f1 == {0.1: 50, 0.25: 50, 0.5: 50}


def test_nothing_is_no_segment() -> None:
    found = scores("..aa......", "..aa..bb..")
    assert found.accuracy == 80 and found.edit == 50
    assert found.f1[0.5] == pytest.approx(100 * 2 / 3)
    assert scores("....", "aa..") == SegmentScores(50, 0, {0.1: 0, 0.25: 0, 0.5: 0})


def test_an_order_with_one_wrong() -> None:
    found = scores("aabbccdd", "aabbxxdd")
    assert found.edit == 75 and found.accuracy == 75 and found.f1[0.1] == 75


def test_films_are_counted_together() -> None:
    found = segment_scores([frames("aa"), frames("bbbbbb")], [frames("aa"), frames("cccccc")])
    assert found.accuracy == 25  # two of eight frames
    assert found.edit == 50  # the mean of the films
    assert found.f1[0.1] == 50  # one hit of two segments


def test_films_of_other_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected as many"):
        scores("aa", "aaa")
    with pytest.raises(ConfigError, match="one film or more"):
        segment_scores([], [])
