"""Rows of an unequal list: how often each is drawn, and that this depends on the epoch alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from videoadapt.data.balance import BalancedRows, clips_of_each_class
from videoadapt.data.batches import Schedule, TrainBatches
from videoadapt.data.videos import VideoRows

LABELS_N = np.array([0] * 100 + [2] * 4 + [5] * 16)[np.random.default_rng(0).permutation(120)]


@pytest.mark.parametrize(
    ("balance", "clips"), [(0.0, [100, 0, 4, 0, 0, 16]), (0.5, [75, 0, 15, 0, 0, 30]), (1.0, [40, 0, 40, 0, 0, 40])]
)
def test_clips_go_by_a_power_of_the_videos(balance: float, clips: list[float]) -> None:
    videos_K = np.bincount(LABELS_N, minlength=8)  # no row has the last two labels
    np.testing.assert_allclose(clips_of_each_class(videos_K, balance), [*clips, 0, 0])


@pytest.mark.parametrize("balance", [0.3, 0.5, 1.0])
def test_rows_and_classes_come_as_often_as_they_should(balance: float) -> None:
    rows, clips_K = BalancedRows(LABELS_N, balance), clips_of_each_class(np.bincount(LABELS_N, minlength=6), balance)
    often_N = (clips_K / np.maximum(np.bincount(LABELS_N, minlength=6), 1))[LABELS_N]
    total_N, total_K = np.zeros(120), np.zeros(6)
    for epoch in range(400):
        drawn_N, before_N = rows.draw(np.random.default_rng([7, epoch]))
        times_N = np.bincount(drawn_N, minlength=120)
        assert len(drawn_N) == 120 and (np.abs(times_N - often_N) < 1).all()
        assert (np.abs(np.bincount(LABELS_N[drawn_N], minlength=6) - clips_K) < 1 + 1e-9).all()
        assert sorted(zip(drawn_N, before_N, strict=True)) == [(r, n) for r in range(120) for n in range(times_N[r])]
        total_N += times_N
        total_K += np.bincount(LABELS_N[drawn_N], minlength=6)
    assert np.abs(total_K / 400 - clips_K).max() < 5 * 0.5 / np.sqrt(400)  # of a class, at most 1/2 either way
    assert np.abs(total_N / 400 - often_N).max() < 5 * 0.5 / np.sqrt(400)  # of a row, at most 1/2 either way


def test_any_two_rows_of_a_class_meet_in_an_epoch() -> None:
    """Of 100 rows 40 are drawn: two given ones together in 40/100 times 39/99 of all epochs."""
    rows, frequent = BalancedRows(LABELS_N, 1.0), np.flatnonzero(LABELS_N == 0)
    together = 0
    for epoch in range(50):
        drawn_N, _ = rows.draw(np.random.default_rng([7, epoch]))
        is_drawn_N = np.isin(frequent, drawn_N)
        together += int((is_drawn_N[1:] & is_drawn_N[:-1]).sum())  # neighbours in the list
    assert together / (50 * 99) == pytest.approx(
        0.4 * 39 / 99, abs=0.02
    )  # eight times the deviation of independent draws


class _Start(np.random.Generator):
    """Draws a start that is known."""

    start = 0.0

    def random(self, *args: object) -> float:  # type: ignore[override]
        return self.start


@pytest.mark.parametrize("start", [0.0, np.nextafter(1, 0)])
def test_an_epoch_is_as_long_as_its_list_whatever_is_rounded(start: float) -> None:
    for balance in np.linspace(0, 1, 21):
        rng = _Start(np.random.PCG64(0))
        rng.start = start
        drawn_N, before_N = BalancedRows(LABELS_N, balance).draw(rng)
        assert len(drawn_N) == len(before_N) == 120


def test_a_class_is_spread_over_the_epoch() -> None:
    drawn_N, _ = BalancedRows(LABELS_N, 1.0).draw(np.random.default_rng(0))
    halves = [Counter(LABELS_N[part].tolist()) for part in np.split(drawn_N, 2)]
    assert all(half[label] > 8 for half in halves for label in (0, 2, 5))


def test_batches_are_a_function_of_the_step() -> None:
    videos = VideoRows(Path(), [(f"{n}.mp4", int(label), n) for n, label in enumerate(LABELS_N)])
    whole, resumed = (
        TrainBatches(videos, Schedule(120, 16, 3, 2, 5, BalancedRows(LABELS_N, 1.0)), start) for start in (0, 9)
    )
    assert list(resumed) == list(whole)[9 * 2 :] and len(whole) == 7 * 3 * 2
    epochs = [[item for batch in list(whole)[14 * e : 14 * (e + 1)] for item in batch] for e in range(3)]
    assert all(len({(item.row, item.before) for item in epoch}) == 112 for epoch in epochs)
    assert [item.row for item in epochs[0]] != [item.row for item in epochs[1]]


def test_without_balance_each_row_comes_once() -> None:
    epoch, rows_B2 = Schedule(120, 120, 3, 1, 5).rows(2)
    assert epoch == 2 and (rows_B2[:, 1] == 0).all()
    assert (rows_B2[:, 0] == np.random.default_rng([5, 2]).permutation(120)).all()
