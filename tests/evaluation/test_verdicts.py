"""What a test on corrupted videos keeps: the verdicts that all views together would give, and not the views."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videoadapt import distributed
from videoadapt.data.structures import Video
from videoadapt.errors import NotFinite
from videoadapt.evaluation.of_labels import OF_LABELS
from videoadapt.evaluation.predictions import Predictions
from videoadapt.evaluation.verdicts import Verdicts
from videoadapt.evaluation.views import ViewAccumulator, ViewId

SETTINGS, VIDEOS, CLIPS, CROPS, CLASSES = 9, 21, 4, 3, 11
UNREADABLE = {(0, 3), (5, 3), (2, 17)}  # setting, video


def videos(count: int = VIDEOS, labels: str = "single") -> list[Video]:
    several = [(row % CLASSES, (3 * row + 1) % CLASSES) if labels == "multi" else None for row in range(count)]
    return [
        Video(f"film {row}", Path(f"{row}.mp4"), row % CLASSES, row + 1, labels=several[row]) for row in range(count)
    ]


def films(num_views: int = CLIPS * CROPS, count: int = VIDEOS) -> Iterator[tuple[int, np.ndarray]]:
    """A film after the other, its logits (S, V, K); some classes are as high as one another."""
    for row in range(count):
        drawn = np.random.default_rng(row).normal(scale=3, size=(SETTINGS, num_views, CLASSES)).astype(np.float32)
        drawn[:, :, row % CLASSES] += 2
        yield row, drawn if row % 5 else drawn.round()


def fill(collector: Any, rows: range = range(VIDEOS)) -> None:
    """As the loader delivers them: one film under all settings, then the next."""
    for row, logits_SVK in films():
        for setting, view in np.ndindex(logits_SVK.shape[:2]):
            if row not in rows or (setting, row) in UNREADABLE:
                if row in rows and view == 0:
                    collector.add_unreadable(setting * VIDEOS + row, "damaged")
                continue
            place = ViewId(setting * VIDEOS + row, view // CROPS, view % CROPS)
            collector.add(place, logits_SVK[setting, view])


@pytest.mark.parametrize("average", ["logits", "probs"])
@pytest.mark.parametrize("labels", ["single", "multi"])
def test_verdicts_are_those_of_all_views_together(labels: Any, average: Any) -> None:
    all_views = ViewAccumulator(videos(labels=labels) * SETTINGS, CLIPS, CROPS, CLASSES)
    verdicts = Verdicts(videos(labels=labels), SETTINGS, CLIPS, CROPS, CLASSES, average, labels)
    for collector in (all_views, verdicts):
        fill(collector)
        collector.gather()
    whole = all_views.predictions(average, labels)
    expected = whole.ranks_N == 0 if isinstance(whole, Predictions) else whole.scores_NK
    assert np.array_equal(verdicts.kept.reshape(expected.shape), expected)
    assert np.array_equal(verdicts.readable_SN.ravel(), whole.readable_N)
    assert (~verdicts.readable_SN).sum() == len(UNREADABLE)
    for setting in range(SETTINGS):
        chosen = np.arange(len(whole.videos)) // VIDEOS == setting
        assert verdicts.score(setting) == whole.measures(chosen)[OF_LABELS[labels].best_by]
    assert len({verdicts.score(setting) for setting in range(SETTINGS)}) > 2


def test_what_is_held_does_not_grow_with_the_views() -> None:
    """But for one film's."""
    count = 60

    def most(num_views: int) -> int:
        tracemalloc.start()
        verdicts = Verdicts(videos(count), SETTINGS, num_views, 1, CLASSES)
        for row, logits_SVK in films(num_views, count):
            for setting, view in np.ndindex(logits_SVK.shape[:2]):
                verdicts.add(ViewId(setting * count + row, view, 0), logits_SVK[setting, view])
        verdicts.gather()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    of_one_film = SETTINGS * 24 * CLASSES * 4
    most(1)  # what Python keeps from the first call on
    assert most(24) - most(1) < 15 * of_one_film  # logits of all films would be 60 of them; those just drawn are some


def test_a_missing_view_is_named() -> None:
    verdicts = Verdicts(videos(2), 2, 1, 2, CLASSES)
    zeros = np.zeros(CLASSES, dtype=np.float32)
    for place in (ViewId(0, 0, 0), ViewId(0, 0, 1), ViewId(2, 0, 0)):
        verdicts.add(place, zeros)
    with pytest.raises(ValueError, match="film 0: 1 of 2 views never arrived, first clip 0, crop 1"):
        verdicts.gather()
    verdicts.add(ViewId(2, 0, 1), zeros)
    with pytest.raises(ValueError, match="film 1: none of its views arrived"):
        verdicts.gather()


def test_doubled_and_broken_views_are_named() -> None:
    verdicts = Verdicts(videos(2), 2, 1, 1, CLASSES)
    zeros = np.zeros(CLASSES, dtype=np.float32)
    verdicts.add(ViewId(1, 0, 0), zeros)
    with pytest.raises(ValueError, match="film 1, clip 0, crop 0: this view arrived twice"):
        verdicts.add(ViewId(1, 0, 0), zeros)
    with pytest.raises(NotFinite, match="film 1, clip 0, crop 0: not all logits are finite"):
        verdicts.add(ViewId(3, 0, 0), zeros + np.nan)
    verdicts.add(ViewId(3, 0, 0), zeros)
    with pytest.raises(ValueError, match="film 1: all its views are there, and one arrived twice"):
        verdicts.add_unreadable(1, "damaged")


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_ranks_merge_what_they_hold(labels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank has films of its own; one that two have, or that is incomplete on one, stops both."""

    def made(*parts: range) -> list[Verdicts]:
        found = [Verdicts(videos(labels=labels), SETTINGS, CLIPS, CROPS, CLASSES, "logits", labels) for _ in parts]
        for verdicts, rows in zip(found, parts, strict=True):
            fill(verdicts, rows)
        return found

    def gather(ranks: list[Verdicts]) -> None:
        sent: list[Any] = []
        monkeypatch.setattr(distributed, "all_gather_objects", lambda value: sent.append(value) or [])
        for verdicts in ranks:
            with pytest.raises(ValueError, match="none of its views arrived"):
                verdicts.gather()
        monkeypatch.setattr(distributed, "all_gather_objects", lambda value: sent)
        for verdicts in ranks:
            verdicts.gather()

    (alone,) = made(range(VIDEOS))
    alone.gather()
    gather(ranks := made(range(0, VIDEOS, 2), range(1, VIDEOS, 2)))
    for verdicts in ranks:
        assert np.array_equal(verdicts.kept, alone.kept)
        assert np.array_equal(verdicts.readable_SN, alone.readable_SN)
        assert [verdicts.interval(setting) for setting in (0, 4)] == [alone.interval(setting) for setting in (0, 4)]
    with pytest.raises(ValueError, match="film 4: delivered by two ranks"):
        gather(made(range(5), range(4, VIDEOS)))
