"""Detected segments against annotated ones: mean average precision at temporal intersections over union (tIoU), in percent.

The formula is that of ActivityNet's evaluation (Evaluation/eval_detection.py of activitynet/ActivityNet), which papers on
THUMOS14 use as well: a detection, from the highest score on, takes the annotation of its class that it overlaps most and that
is free; average precision is interpolated as in VOC 2011; the mean is over the classes that are annotated.
Shapes: D detections of one class, G annotations, M thresholds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videoadapt import logger
from videoadapt.errors import DataListError, counted, did_you_mean
from videoadapt.preparing.annotations import ANNOTATED
from videoadapt.preparing.published_files import as_published, read_films

THUMOS14_TIOU = np.linspace(0.3, 0.7, 5)
ACTIVITYNET_TIOU = np.linspace(0.5, 0.95, 10)
AMBIGUOUS = "Ambiguous"  # of THUMOS14: neither right nor wrong
_DETECTED = '[{"label": ..., "score": ..., "segment": [start, end]}, ...]'  # of a film in a file of results


class Detection(NamedTuple):
    """A segment of a film with its label; annotations have the score 1."""

    film: str
    label: str
    start_sec: float
    end_sec: float
    score: float = 1.0


@dataclass(frozen=True)
class Annotations:
    """The annotated segments of one subset, and all films and labels that the file knows."""

    segments: list[Detection]
    films: frozenset[str]
    labels: frozenset[str]


def read_annotations(path: Path, subset: str) -> Annotations:
    """Read ActivityNet's layout, also THUMOS14's: database -> film -> subset, annotations -> label, segment.

    Subsets are compared without regard to capitals. Raises DataListError for another layout, and a subset that is not there.
    """
    segments, films, labels, subsets = [], set(), set(), set()
    for film, record in read_films(path, "database", ANNOTATED).items():
        with as_published(path, film, ANNOTATED):
            films.add(film)
            subsets.add(record["subset"])
            found = [_segment(film, what, 1.0) for what in record.get("annotations", ())]
            labels |= {one.label for one in found}
            if record["subset"].lower() == subset.lower():
                segments += found
    if subset.lower() not in {one.lower() for one in subsets}:
        raise DataListError(f"{path}: has no subset {subset!r}; {did_you_mean(subset, subsets)}")
    if all(one.label == AMBIGUOUS for one in segments):
        raise DataListError(f"{path}: no segment of the subset {subset!r} is annotated")
    return Annotations(segments, frozenset(films), frozenset(labels))


def read_detections(path: Path, annotations: Annotations) -> list[Detection]:
    """Read ActivityNet's results: results -> film -> label, score, segment; a film may be called v_<id>, as its file is.

    Raises DataListError for another layout, and for a label that is annotated in no film, as the public code does.
    """
    found = []
    for film, records in read_films(path, "results", _DETECTED).items():
        with as_published(path, film, _DETECTED):
            name = film if film in annotations.films else film.removeprefix("v_")
            found += [_segment(name, what, float(what["score"])) for what in records]
    if turned := next((one for one in found if one.start_sec > one.end_sec), None):
        raise DataListError(
            f"{path}: {turned.film}: a segment from {turned.start_sec:g} to {turned.end_sec:g} s; the start comes first"
        )
    if unknown := sorted({one.label for one in found} - annotations.labels):
        raise DataListError(
            f"{path}: the label {unknown[0]!r} is not annotated; {did_you_mean(unknown[0], annotations.labels)}"
        )
    if outside := {one.film for one in found} - annotations.films:
        logger.warning(
            "%s: %s not annotated, such as %s: all that is detected in them counts as wrong",
            path, counted(len(outside), "film is", "films are"), min(outside),
        )  # fmt: skip
    return found


def _segment(film: str, what: Mapping[str, object], score: float) -> Detection:
    start_sec, end_sec = map(float, what["segment"])  # type: ignore[call-overload]
    if not all(map(math.isfinite, (start_sec, end_sec, score))):
        raise ValueError(f"segment {[start_sec, end_sec]}, score {score}: is not a number, or infinite")
    return Detection(film, str(what["label"]), start_sec, end_sec, score)


def average_precisions(
    truth: Sequence[Detection], found: Sequence[Detection], tiou_M: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return the average precision (M,) of each class that is annotated, from 0 to 1; 0 without a detection.

    Segments labelled AMBIGUOUS are no class. A detection that is not right and overlaps one at all is left out, as THUMOS14's
    own evaluation does (TH14eventdetpr.m). Of equal scores the one that comes first is looked at first.
    """
    ambiguous = _by_film(one for one in truth if one.label == AMBIGUOUS)
    labels = sorted({one.label for one in truth} - {AMBIGUOUS})
    return {
        label: _of_class(
            [one for one in truth if one.label == label],
            [one for one in found if one.label == label],
            ambiguous,
            tiou_M,
        )
        for label in labels
    }


def _of_class(
    truth: Sequence[Detection],
    found: Sequence[Detection],
    ambiguous: Mapping[str, NDArray[np.float64]],
    tiou_M: NDArray[np.float64],
) -> NDArray[np.float64]:
    by_film = _by_film(truth)
    free = {film: np.ones((len(tiou_M), len(bounds_G2)), dtype=bool) for film, bounds_G2 in by_film.items()}
    ordered = sorted(found, key=lambda one: -one.score)
    right_MD = np.zeros((len(tiou_M), len(ordered)), dtype=bool)
    ignored_D = np.zeros(len(ordered), dtype=bool)
    for place, one in enumerate(ordered):
        ignored_D[place] = one.film in ambiguous and bool((tious(one, ambiguous[one.film]) > 0).any())
        if one.film not in by_film:
            continue
        tiou_G = tious(one, by_film[one.film])
        for row, least in enumerate(tiou_M):
            open_G = np.where(free[one.film][row] & (tiou_G >= least), tiou_G, -1.0)
            best = int(open_G.argmax())
            if open_G[best] >= 0:
                right_MD[row, place] = True
                free[one.film][row, best] = False
    return np.array([_interpolated(right_D[right_D | ~ignored_D], len(truth)) for right_D in right_MD])


def _by_film(segments: Iterable[Detection]) -> dict[str, NDArray[np.float64]]:
    """(G, 2) bounds by film."""
    found: dict[str, list[tuple[float, float]]] = {}
    for one in segments:
        found.setdefault(one.film, []).append((one.start_sec, one.end_sec))
    return {film: np.array(bounds) for film, bounds in found.items()}


def tious(one: Detection, bounds_G2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union in time of a segment with each of others: (G,)."""
    starts_G, ends_G = bounds_G2.T
    shared_G = np.clip(np.minimum(one.end_sec, ends_G) - np.maximum(one.start_sec, starts_G), 0, None)
    union_G: NDArray[np.float64] = (ends_G - starts_G) + (one.end_sec - one.start_sec) - shared_G
    return shared_G / np.maximum(union_G, 1e-12)


def _interpolated(right_D: NDArray[np.bool_], num_true: int) -> float:
    """Area under the precision that is reached at this recall or a higher one (VOC 2011)."""
    hits_D = np.cumsum(right_D)
    precision_D = hits_D / np.arange(1, len(right_D) + 1)
    best_D = np.maximum.accumulate(precision_D[::-1])[::-1]
    return float((best_D * right_D).sum() / num_true)
