"""Few-shot episodes: how often the class of a video is told from few examples of each, by features alone.

Shapes: N videos, D numbers of a feature, W ways (classes), K shots (examples), Q queries (asked about), E episodes.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videoadapt.errors import ConfigError, DataListError


class FewShot(NamedTuple):
    """Accuracy in percent over all episodes, half of its 95 % confidence interval, and the accuracy of each."""

    accuracy: float
    interval: float
    episodes_E: NDArray[np.float64]

    def __str__(self) -> str:
        return f"{self.accuracy:.2f} +/- {self.interval:.2f} % ({len(self.episodes_E)} episodes)"


def few_shot_accuracy(
    features_ND: ArrayLike,
    labels_N: ArrayLike,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 600,
    distance: Literal["euclidean", "cosine"] = "euclidean",
    seed: int = 0,
) -> FewShot:
    """Tell `queries` videos of each of `ways` classes by the nearest mean of `shots` others, in as many drawn `episodes`.

    The classes are those of Prototypical Networks (Snell et al. 2017, arXiv 1703.05175, equations 1 and 2) over a frozen
    feature; "cosine" looks at its direction alone. The interval is 1.96 standard errors of the mean over episodes: it says
    how far other episodes of these videos would lie, and not other videos or another training. Classes with fewer videos
    than `shots` and `queries` together are not drawn.

    Raises ConfigError for numbers below 1, ways below 2 and another distance, and DataListError where features and labels
    do not fit, are not finite, or too few classes are large enough.
    """
    _check_numbers(ways, shots, queries, episodes, distance)
    features_ND, labels_N = np.asarray(features_ND, dtype=np.float64), np.asarray(labels_N)
    if features_ND.ndim != 2 or labels_N.shape != features_ND.shape[:1]:
        raise DataListError(
            f"features {features_ND.shape} and labels {labels_N.shape}: expected (N, D), and one label of each: (N,)"
        )
    if not np.isfinite(features_ND).all():
        raise DataListError(f"features: row {int(np.argmin(np.isfinite(features_ND).all(1)))} is not finite")
    if distance == "cosine":
        features_ND = _directions(features_ND)
    rows_of = [np.flatnonzero(labels_N == label) for label in np.unique(labels_N)]
    large = [rows for rows in rows_of if len(rows) >= shots + queries]
    if len(large) < ways:
        raise DataListError(
            f"{len(large)} of {len(rows_of)} classes have the {shots + queries} videos of {shots} shots and {queries} queries; "
            f"{ways} ways need as many: lower queries, shots or ways"
        )
    rng = np.random.default_rng(seed)
    accuracies_E = np.array(
        [_episode(features_ND, large, ways, shots, queries, distance, rng) for _ in range(episodes)]
    )
    spread = float(accuracies_E.std(ddof=1)) if episodes > 1 else math.nan
    return FewShot(float(accuracies_E.mean()), 1.96 * spread / math.sqrt(episodes), accuracies_E)


def _check_numbers(ways: int, shots: int, queries: int, episodes: int, distance: str) -> None:
    least = {"ways": (ways, 2), "shots": (shots, 1), "queries": (queries, 1), "episodes": (episodes, 1)}
    problems = [f"{name} = {value}: allowed: {low} or more" for name, (value, low) in least.items() if value < low]
    if distance not in ("euclidean", "cosine"):
        problems.append(f"distance = {distance!r}: allowed: euclidean, cosine")
    if problems:
        raise ConfigError(problems)


def _directions(features_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of length one; zeros stay zeros, as far from everything."""
    lengths_N1 = np.linalg.norm(features_ND, axis=1, keepdims=True)
    return features_ND / np.where(lengths_N1 > 0, lengths_N1, 1)


def _episode(
    features_ND: NDArray[np.float64],
    large: list[NDArray[np.intp]],
    ways: int,
    shots: int,
    queries: int,
    distance: str,
    rng: np.random.Generator,
) -> float:
    """The accuracy of one episode in percent."""
    chosen = rng.choice(len(large), ways, replace=False)
    rows_WM = np.stack([rng.choice(large[number], shots + queries, replace=False) for number in chosen])
    means_WD = features_ND[rows_WM[:, :shots]].mean(1)
    if distance == "cosine":
        means_WD = _directions(means_WD)
    queries_QD = features_ND[rows_WM[:, shots:]].reshape(ways * queries, -1)
    # squared distance without what is the same for all means
    scores_QW = 2 * queries_QD @ means_WD.T - (means_WD**2).sum(1)
    return 100 * float((scores_QW.argmax(1) == np.repeat(np.arange(ways), queries)).mean())
