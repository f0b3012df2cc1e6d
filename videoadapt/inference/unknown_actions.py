"""A run's known videos scored, unknown ones told from them, and what `reject` needs left in its folder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videoadapt import logger
from videoadapt.config.schema import Config
from videoadapt.data.splits import Splits
from videoadapt.data.structures import Unreadable, Video
from videoadapt.data.videos import WHOLE, VideoRows
from videoadapt.errors import ConfigError, VideoAdaptError, counted
from videoadapt.evaluation.judged import may_have_trained_on_val
from videoadapt.evaluation.unknown import auroc, fpr95
from videoadapt.files import write_json
from videoadapt.inference.known import OF_TRAINING, Known, Measure, check_labels, check_neighbour, made_of, save
from videoadapt.inference.predictor import Predictor
from videoadapt.inference.score_plot import plot_scores
from videoadapt.inference.seen import Seen, see
from videoadapt.inference.sources import videos_listed
from videoadapt.inference.videos import film_and_part
from videoadapt.runs.folder import facts_of, run_config
from videoadapt.runs.lists import load_splits
from videoadapt.runs.statement import value_of
from videoadapt.video.part import AnyPart

RATE = 0.05  # of false alarms, in the table and the picture
FEWEST = 2  # known videos: of one, any rate below 1 is none of them


@dataclass(frozen=True)
class Asked:
    """Which lists (`known` None: data.val), which score decides, and whether the training list is looked at."""

    known: Path | None
    unknown: Path | None = None
    root: Path | None = None
    score: str = "energy"
    k: int = 10
    training: bool = True
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """Of each score `auroc`, `fpr95` (with unknown videos) and `threshold_5`, None of fewer than 20 known videos."""

    numbers: dict[str, dict[str, float | None]]
    num_known: int
    num_unknown: int
    unreadable: list[Unreadable]

    @property
    def least_rate(self) -> float:
        """RATE, or the least rate of false alarms that so few known videos can tell, in steps of a hundredth."""
        return max(RATE, math.ceil(100 / self.num_known) / 100)


def measure(predictor: Predictor, folder: Path, asked: Asked) -> Found:
    """Score all videos, and leave unknown.npz, unknown.json and unknown.png in the folder.

    Raises VideoAdaptError for lists that cannot be used, and where a chosen score needs a training list that is not there.
    """
    check_labels(predictor.config)
    config = run_config(folder, asked.overrides)
    root = asked.root or config.data.root
    splits = _lists_of(config, asked)
    known: Sequence[Video] = (
        splits.val if asked.known is None and splits is not None else _listed(asked.known, root, config)
    )
    unknown = _listed(asked.unknown, root, config) if asked.unknown is not None else []
    training = None if splits is None or not asked.training else splits.train
    _check_known(asked, len(known))
    if training is not None and len(training):
        check_neighbour(asked.k, len(training))
    if splits is not None and asked.known is None:
        _say_trained_on(folder, config, splits)
    _say_shared(known, unknown, None if splits is None else splits.train)
    how = Measure(predictor.config.test.average)
    unreadable: list[Unreadable] = []
    if training is not None and len(training):
        seen = see(predictor, training, "training")
        labels_M = np.array([video.label for video in seen.videos])
        how, unreadable = Measure.fit(how.average, seen.features_ND, labels_M, asked.k), seen.unreadable
        if how.gaussians is None:
            logger.warning("no class of the training list has two different videos, so there is no mahalanobis")
    how.check(asked.score)
    seen_known = see(predictor, known, "known")
    _check_known(asked, len(seen_known.videos))
    seen_unknown = see(predictor, unknown, "unknown") if unknown else None
    scores = {name: how.score(name, seen_known.logits_NVK, seen_known.features_ND) for name in how.scores}
    others = {} if seen_unknown is None else _scores(how, seen_unknown)
    keep = Known(how, scores, asked.score)
    save(folder, keep, made_of(predictor.config, predictor.class_names, predictor.classifier))
    numbers = {name: _numbers(keep, name, others.get(name)) for name in scores}
    plot_scores(scores, others, numbers, folder / "unknown.png")
    unreadable = [*unreadable, *seen_known.unreadable, *(seen_unknown.unreadable if seen_unknown else [])]
    found = Found(numbers, len(seen_known.videos), len(seen_unknown.videos) if seen_unknown else 0, unreadable)
    _leave_record(folder, asked, found, seen_known, seen_unknown)
    return found


def _lists_of(config: Config, asked: Asked) -> Splits | None:
    """The run's training and validation lists; None where they are not needed, or cannot be had and none asked for more."""
    if not asked.training and asked.known is not None:
        return None
    none_known = ConfigError(
        "--known: the run has no validation videos, so name a list of videos that it was not trained on"
    )
    if asked.known is None and config.data.val is None:
        raise none_known
    tests = config.test.model_copy(update={"enable": False})
    try:
        splits = load_splits(config.model_copy(update={"test": tests}))
    except VideoAdaptError as error:
        if asked.known is None or asked.score in OF_TRAINING:
            raise
        logger.warning("%s; without the training list: no %s", error, " and no ".join(OF_TRAINING))
        return None
    if asked.known is None and not len(splits.val):  # class folders of which none was held out
        raise none_known
    return splits


def _listed(path: Path | None, root: Path, config: Config) -> list[Video]:
    assert path is not None
    found = []
    for name in videos_listed(path, root, config.data):
        film, part = film_and_part(name)
        found.append(Video(str(film), film, -1, 0, part))
    return found


def _say_trained_on(folder: Path, config: Config, splits: Splits) -> None:
    """Warn where the run's own validation videos may be among those that it was trained on."""
    if may_have_trained_on_val(config, splits, value_of(facts_of(folder), "config.lists.train")):
        logger.warning(
            "data.val: the run may have been trained on some of these known videos, which then score too high; give the "
            "holdout that it was trained with, or with --known a list that it was not trained on"
        )


def _say_shared(known: Sequence[Video], unknown: Sequence[Video], training: VideoRows | None) -> None:
    """Warn of videos that are in two of the lists, under whatever path; of parts of films, of those that overlap."""
    if training is not None and (shared := _num_shared(known, training)):
        logger.warning(
            "%s of the training list: they score too high",
            counted(shared, "of the known videos is", "of the known videos are"),
        )
    if shared := _num_shared(unknown, known):
        logger.warning(
            "%s in the known list too, and cannot be told from themselves",
            counted(shared, "of the unknown videos is", "of the unknown videos are"),
        )


def _num_shared(videos: Sequence[Video], others: Sequence[Video]) -> int:
    parts: dict[Path, list[AnyPart]] = {}
    for other in others:
        parts.setdefault(other.path.resolve(), []).append(other.part or WHOLE)
    return sum(
        any((video.part or WHOLE).overlaps(part) for part in parts.get(video.path.resolve(), ())) for video in videos
    )


def _check_known(asked: Asked, number: int) -> None:
    """Raise ConfigError for fewer known videos than say anything."""
    if number < FEWEST:
        source = "data.val" if asked.known is None else f"--known {asked.known}"
        raise ConfigError(
            f"{source}: {counted(number, 'video')} that can be read; a rate of false alarms needs {FEWEST} or more"
        )


def _scores(how: Measure, seen: Seen) -> dict[str, Any]:
    return {name: how.score(name, seen.logits_NVK, seen.features_ND) for name in how.scores}


def _numbers(known: Known, name: str, unknown_N: Any) -> dict[str, float | None]:
    of = Known(known.measure, known.scores, name)
    found: dict[str, float | None] = {}
    if unknown_N is not None:
        found = {"auroc": auroc(known.scores[name], unknown_N), "fpr95": fpr95(known.scores[name], unknown_N)}
    enough = RATE * len(known.scores[name]) >= 1
    found["threshold_5"] = of.threshold(RATE) if enough else None
    if unknown_N is not None and enough:
        found["rejected_known"] = float((known.scores[name] < of.threshold(RATE)).mean())
        found["rejected_unknown"] = float((unknown_N < of.threshold(RATE)).mean())
    return found


def _leave_record(folder: Path, asked: Asked, found: Found, known: Seen, unknown: Seen | None) -> None:
    record = {
        "score": asked.score,
        "k": asked.k,
        "num_known": found.num_known,
        "num_unknown": found.num_unknown,
        "scores": found.numbers,
        "known": [video.id for video in known.videos],
        "unknown": [] if unknown is None else [video.id for video in unknown.videos],
    }
    write_json(folder / "unknown.json", record)
