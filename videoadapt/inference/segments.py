"""From the probabilities of windows to segments: what happens from which second to which.

Shapes: W windows, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videoadapt.errors import ConfigError
from videoadapt.evaluation.segmentation import NOTHING
from videoadapt.inference.answers import Answers
from videoadapt.inference.windows import Timeline

DEFAULT_ON, OFF_OF_ON = 0.5, 0.6


class Segment(NamedTuple):
    """One action of a film; `confidence` is the mean of its smoothed probability over its windows."""

    start_sec: float
    end_sec: float
    label: int
    name: str
    confidence: float


@dataclass(frozen=True)
class Cut:
    """How a timeline is cut.

    A segment of a class has probabilities of `off` or more throughout, and somewhere of `on` or more (hysteresis); None: `on`
    is 0.5, or of several labels the threshold of the class, and `off` 0.6 of it. They are smoothed before, over `smooth_sec`
    (None: as long as a window), and segments shorter than `least_sec` (None: half a window) are left out.
    """

    on: float | None = None
    off: float | None = None
    smooth_sec: float | None = None
    least_sec: float | None = None

    def check(self) -> None:
        """Raise ConfigError for thresholds that are none, and lengths below 0."""
        problems = [
            f"{name} = {value:g}: allowed: above 0, to 1"
            for name, value in (("on", self.on), ("off", self.off))
            if value is not None and not 0 < value <= 1
        ]
        if None not in (self.on, self.off) and self.off > self.on:  # type: ignore[operator]
            problems.append(f"off = {self.off:g}: allowed: up to on = {self.on:g}")
        problems += [
            f"{name} = {value:g}: allowed: 0 or more"
            for name, value in (("smooth_sec", self.smooth_sec), ("least_sec", self.least_sec))
            if value is not None and not 0 <= value < float("inf")
        ]
        if problems:
            raise ConfigError(problems)


def smoothed(timeline: Timeline, smooth_sec: float | None = None) -> NDArray[np.float64]:
    """Probabilities (W, K): of each window the mean over those whose middle is within half of `smooth_sec` of its own."""
    half_sec = (timeline.window_sec if smooth_sec is None else smooth_sec) / 2 + 1e-6
    middles_W = _middles(timeline)
    first_W = np.searchsorted(middles_W, middles_W - half_sec)
    stop_W = np.searchsorted(middles_W, middles_W + half_sec, side="right")
    sums = np.concatenate(
        [np.zeros((1, timeline.values.shape[1])), np.cumsum(timeline.values, axis=0, dtype=np.float64)]
    )
    means_WK: NDArray[np.float64] = (sums[stop_W] - sums[first_W]) / (stop_W - first_W)[:, None]
    return means_WK


def bounds(timeline: Timeline) -> NDArray[np.float64]:
    """The W + 1 seconds between which each window speaks for the film: half-way from middle to middle, and its ends."""
    middles_W = _middles(timeline)
    between = (middles_W[1:] + middles_W[:-1]) / 2
    return np.concatenate([[timeline.start_sec], between, [timeline.end_sec]])


def segments_of(timeline: Timeline, answers: Answers, cut: Cut) -> list[Segment]:
    """Cut a timeline: segments in the order of their beginnings, of one label a video without overlap. Raises ConfigError."""
    cut.check()
    probs_WK = smoothed(timeline, cut.smooth_sec)
    on_K, off_K = _thresholds(answers, cut)
    active_WK = np.stack([_held(p_W, on, off) for p_W, on, off in zip(probs_WK.T, on_K, off_K, strict=True)], axis=1)
    at = bounds(timeline)
    least_sec = timeline.window_sec / 2 if cut.least_sec is None else cut.least_sec
    if answers.labels == "single":
        runs = _one_at_a_time(probs_WK, active_WK, at, least_sec)
    else:
        runs = [
            (first, stop, label)
            for label in range(len(answers.class_names))
            for first, stop, there in _runs(active_WK[:, label])
            if there and _lasts(at, first, stop, least_sec)
        ]
    found = [
        Segment(float(at[i]), float(at[j]), label, answers.class_names[label], float(probs_WK[i:j, label].mean()))
        for i, j, label in runs
    ]
    return sorted(found)


def shown_classes(probs_WK: NDArray[np.float64], segments: Sequence[Segment], most: int) -> list[int]:
    """Classes in the order in which they first come; those with a segment, of many the `most` that last longest.

    Without segments the three that come nearest to one.
    """
    lasting: dict[int, float] = {}
    for segment in segments:
        lasting[segment.label] = lasting.get(segment.label, 0.0) + segment.end_sec - segment.start_sec
    if not lasting:
        return [int(label) for label in np.argsort(-probs_WK.max(axis=0), kind="stable")[:3]]
    kept = set(sorted(lasting, key=lambda label: -lasting[label])[:most])
    return [label for label in lasting if label in kept]


def _middles(timeline: Timeline) -> NDArray[np.float64]:
    return np.array([(start_sec + end_sec) / 2 for start_sec, end_sec in timeline.windows])


def _thresholds(answers: Answers, cut: Cut) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    num_classes = len(answers.class_names)
    if cut.on is not None or answers.thresholds is None:
        on_K = np.full(num_classes, DEFAULT_ON if cut.on is None else cut.on)
    else:
        on_K = np.asarray(answers.thresholds, dtype=np.float64)
    return on_K, np.minimum(OFF_OF_ON * on_K if cut.off is None else np.full(num_classes, cut.off), on_K)


def _held(probs_W: NDArray[np.float64], on: float, off: float) -> NDArray[np.bool_]:
    """Where a class is: stretches of `off` or more that reach `on`."""
    there_W = np.zeros(len(probs_W), dtype=bool)
    for first, stop, above in _runs(probs_W >= off):
        there_W[first:stop] = above and bool((probs_W[first:stop] >= on).any())
    return there_W


def _one_at_a_time(
    probs_WK: NDArray[np.float64], active_WK: NDArray[np.bool_], at: NDArray[np.float64], least_sec: float
) -> list[tuple[int, int, int]]:
    """(first, stop, label): the most probable class of those that are there; the shortest run goes first, to the next class."""
    active_WK = active_WK.copy()
    while True:
        labels_W = np.where(active_WK.any(axis=1), np.where(active_WK, probs_WK, -1.0).argmax(axis=1), NOTHING)
        runs = [(first, stop, int(label)) for first, stop, label in _runs(labels_W) if label != NOTHING]
        short = [run for run in runs if not _lasts(at, run[0], run[1], least_sec)]
        if not short:
            return runs
        first, stop, label = min(short, key=lambda run: at[run[1]] - at[run[0]])
        active_WK[first:stop, label] = False


def _lasts(at: NDArray[np.float64], first: int, stop: int, least_sec: float) -> bool:
    return bool(at[stop] - at[first] >= least_sec - 1e-6)


def _runs(values_W: Sequence[int] | NDArray[np.generic]) -> Iterator[tuple[int, int, int]]:
    """(first, stop, value) of each stretch of equal values."""
    values_W = np.asarray(values_W)
    edges = [0, *(np.flatnonzero(values_W[1:] != values_W[:-1]) + 1).tolist(), len(values_W)]
    for first, stop in pairwise(edges):
        yield first, stop, int(values_W[first])
