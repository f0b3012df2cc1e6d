"""How the known videos of a run score, kept in its folder: what lies lower is unknown to it.

Shapes: N videos (M of training), V views, K classes, D width.
"""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError, VideoAdaptError, counted
from videoadapt.evaluation.confidence import log_probabilities
from videoadapt.evaluation.predictions import Average
from videoadapt.evaluation.unknown import Gaussians, energy, fit_gaussians, knn, mahalanobis, msp, threshold
from videoadapt.files import write_atomically
from videoadapt.models.parameters import held
from videoadapt.paths import is_file
from videoadapt.runs.statement import Statement, differences, fingerprint

FILE_NAME = "unknown.npz"
OF_LOGITS, OF_TRAINING = ("msp", "energy"), ("mahalanobis", "knn")
SCORES = (*OF_LOGITS, *OF_TRAINING)


@dataclass(frozen=True)
class Measure:
    """How videos are scored: `average` as the run does, and of the training's features what the last two scores need."""

    average: Average
    gaussians: Gaussians | None = None
    training_MD: NDArray[np.float32] | None = None
    k: int = 1

    @classmethod
    def fit(cls, average: Average, features_MD: NDArray[np.float32], labels_M: NDArray[np.int64], k: int) -> "Measure":
        """No Gaussians where no class has two videos that differ. Raises ConfigError where the training has fewer than k."""
        check_neighbour(k, len(features_MD))
        gaussians = fit_gaussians(features_MD, labels_M)
        return cls(average, gaussians if gaussians.rank else None, features_MD, k)

    @property
    def scores(self) -> tuple[str, ...]:
        """Those that it can give."""
        fitted = {"mahalanobis": self.gaussians, "knn": self.training_MD}
        return (*OF_LOGITS, *(name for name in OF_TRAINING if fitted[name] is not None))

    def score(
        self, name: str, logits_NVK: NDArray[np.floating], features_ND: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return one score of each video (N,), the higher the more it seems known.

        `msp` is the greatest of the probabilities that the run's average gives; `energy` that of the mean of the logits,
        whatever the run averages; the others are of the mean feature of the views.
        """
        if name == "msp":
            return msp(log_probabilities(logits_NVK, self.average))
        if name == "energy":
            return energy(logits_NVK.astype(np.float64).mean(axis=1))
        self.check(name)
        if name == "mahalanobis":
            assert self.gaussians is not None
            return mahalanobis(features_ND, self.gaussians)
        assert self.training_MD is not None
        return knn(features_ND, self.training_MD, self.k)

    def check(self, name: str) -> None:
        """Raise ConfigError for a score that it cannot give."""
        if name not in self.scores:
            needs = (
                "two different videos of a class"
                if name == "mahalanobis" and self.training_MD is not None
                else "the features"
            )
            raise ConfigError(f"{name}: needs {needs} of the training list; allowed: {', '.join(self.scores)}")


@dataclass(frozen=True)
class Known:
    """A measure, the scores of known videos by it, and which score says what is unknown."""

    measure: Measure
    scores: Mapping[str, NDArray[np.float64]]
    chosen: str

    def threshold(self, rate: float) -> float:
        """Below it at most the share `rate` of the known videos lie. Raises ConfigError where so few videos cannot tell.

        It is half way to the next lower score: a pass with other videos beside it changes the last bits of a score.
        """
        known_N = self.scores[self.chosen]
        if not 0 < rate < 1 or rate * len(known_N) < 1 - 1e-9:
            least = f"{math.ceil(1000 / len(known_N)) / 1000:g} (one of the {counted(len(known_N), 'known video')})"
            raise ConfigError(f"reject = {rate}: allowed: from {least} to below 1")
        at = threshold(known_N, rate)
        below_N = known_N[known_N < at]
        return (at + float(below_N.max())) / 2 if len(below_N) else at


@dataclass(frozen=True)
class Rejection:
    """A choice between known and unknown: of known videos the share `rate` is called unknown, by mistake."""

    known: Known
    rate: float
    threshold: float

    def is_unknown(self, logits_VK: NDArray[np.floating], feature_D: NDArray[np.floating]) -> bool:
        """Whether a video scores below the threshold."""
        found = self.known.measure.score(self.known.chosen, logits_VK[None], feature_D[None])
        return bool(found[0] < self.threshold)


def check_labels(config: Config) -> None:
    """Raise ConfigError for a model of several labels a video, which knows no unknown ones."""
    if config.data.labels == "multi":
        raise ConfigError("data.labels = multi: a video without any of its labels is no unknown one; allowed: single")


def check_neighbour(k: int, num_videos: int) -> None:
    """Raise ConfigError where the training has fewer than k videos."""
    if not 1 <= k <= num_videos:
        raise ConfigError(f"--k {k}: allowed: 1 to {num_videos}, the videos of the training")


def load_rejection(
    folder: Path | None, rate: float, config: Config, names: Sequence[str], model: nn.Module
) -> Rejection:
    """Read what `videoadapt unknown` left in a run's folder. Raises VideoAdaptError where it is not of this model."""
    check_labels(config)
    if folder is None or not is_file(folder / FILE_NAME):
        where = "only a run's folder can hold it" if folder is None else f"{folder / FILE_NAME} is not there"
        raise ConfigError(
            f"reject = {rate}: needs the scores of known videos, and {where}; first: videoadapt unknown "
            f"{'RUN' if folder is None else quote(str(folder))}"
        )
    known = _load(folder / FILE_NAME, made_of(config, names, model))
    return Rejection(known, rate, known.threshold(rate))


def made_of(config: Config, class_names: Sequence[str], model: nn.Module) -> dict[str, Any]:
    """What scores depend on: the statement, and a fingerprint of the trained tensors."""
    ours = held(model)
    trained = fingerprint({name: p for name, p in model.named_parameters() if name in ours})
    return {**json.loads(Statement.of(config, class_names, model).as_json()), "trained": trained}


def save(folder: Path, known: Known, made: Mapping[str, Any]) -> None:
    """Write it beside the run's other files."""
    measure = known.measure
    arrays: dict[str, Any] = {f"known_{name}": of for name, of in known.scores.items()}
    if measure.gaussians is not None:
        arrays |= {"means": measure.gaussians.means_KD, "whitening": measure.gaussians.whitening_DR}
    if measure.training_MD is not None:
        arrays |= {"training": measure.training_MD}
    facts = json.dumps({"chosen": known.chosen, "average": measure.average, "k": measure.k, "made_of": made})

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, facts=np.array(facts), **arrays)

    write_atomically(folder / FILE_NAME, write)


def _load(path: Path, here: Mapping[str, Any]) -> Known:
    try:
        with np.load(path) as file:
            facts, arrays = json.loads(str(file["facts"])), {name: file[name] for name in file.files if name != "facts"}
        scores = {name.removeprefix("known_"): of for name, of in arrays.items() if name.startswith("known_")}
        gaussians = Gaussians(arrays["means"], arrays["whitening"]) if "means" in arrays else None
        measure = Measure(facts["average"], gaussians, arrays.get("training"), facts["k"])
        known, there = Known(measure, scores, facts["chosen"]), facts["made_of"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise VideoAdaptError(
            f"{path}: cannot be read ({error}); make it again: videoadapt unknown {quote(str(path.parent))}"
        ) from error
    if other := [key for key, _, _ in differences(there, dict(here))]:
        raise VideoAdaptError(
            f"{path}: is of another model or other views ({', '.join(other[:3])}); make it again: videoadapt unknown "
            f"{quote(str(path.parent))}"
        )
    return known
