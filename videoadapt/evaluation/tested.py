"""What a test left in a run's folder, read back: results.json and predictions.npz, which must be of one test.

Shapes: N videos, V views, K classes.
"""

import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt.errors import VideoAdaptError, why_not_read
from videoadapt.evaluation.average_precision import average_precision
from videoadapt.paths import check_regular
from videoadapt.runs.records import read_record
from videoadapt.runs.shapes import Results

_AGAIN = "delete results.json beside it, and it is tested again"


def predictions_file(folder: Path, name: str | None = None) -> Path:
    """Where a test leaves the predictions of its own list, or of another one by its name."""
    return folder / ("predictions.npz" if name is None else f"predictions.{name}.npz")


class Tested:
    """A test's results, and of each video its id, label(s), and averaged scores; not a number where it cannot be read."""

    def __init__(self, folder: Path, name: str | None = None):
        """`name`: of one of several lists, but the first. Raises VideoAdaptError where the predictions are damaged, or of
        another test than results.json.
        """
        self.path = predictions_file(folder, name)
        self.results = _read_results(folder / "results.json")
        if name is not None:
            self.results = self.results["lists"][name]
        check_regular(self.path)
        try:
            with np.load(self.path) as file:
                self.ids: NDArray[np.str_] = file["video_id"]
                self.labels: NDArray[Any] = file["label"]  # int64 (N,), or of several labels a video bool (N, K)
                self.scores_NK: NDArray[np.float32] = file["scores"]
                self.class_names: list[str] = file["class_names"].tolist()
        except PermissionError as error:
            raise VideoAdaptError(f"{self.path}: cannot be read: {why_not_read(error)}") from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise VideoAdaptError(f"{self.path}: cannot be read ({error}); {_AGAIN}") from error
        score, found = self.results.get("mAP" if self.is_multi else "top1"), self.score
        if (found is None) != (score is None) or abs((found or 0) - (score or 0)) > 1e-3:
            raise VideoAdaptError(f"{self.path}: is of another test than results.json beside it; {_AGAIN}")

    @property
    def is_multi(self) -> bool:
        """Whether a video has any number of labels."""
        return self.labels.ndim == 2

    @cached_property
    def correct_N(self) -> NDArray[np.bool_]:
        """Which are right, as results.json counts: alone at the top; without scores, of a video that cannot be read, wrong."""
        return _alone_at_the_top(self.scores_NK, self.labels)

    @cached_property
    def readable_N(self) -> NDArray[np.bool_]:
        """Which could be read."""
        return np.logical_and.reduce(np.isfinite(self.scores_NK), axis=1)

    @cached_property
    def predicted_N(self) -> NDArray[np.int64]:
        """The best class of each video, -1 where it could not be read."""
        best_N = np.nan_to_num(self.scores_NK, nan=-np.inf).argmax(axis=1)
        return np.where(self.readable_N, best_N, -1)

    @cached_property
    def probs_NK(self) -> NDArray[np.float64]:
        """The probability of each class; 0 of a video that could not be read."""
        scores_NK = np.where(self.readable_N[:, None], self.scores_NK, 0).astype(np.float64)
        if self.results["average"] == "logits":
            if self.is_multi:
                scores_NK = 1 / (1 + np.exp(-scores_NK))
            else:
                scores_NK = np.exp(scores_NK - scores_NK.max(axis=1, keepdims=True))
                scores_NK /= scores_NK.sum(axis=1, keepdims=True)
        return np.where(self.readable_N[:, None], scores_NK, 0)

    @property
    def score(self) -> float | None:
        """Top-1, or of several labels mAP, in percent; None where no video has a label."""
        return _score(self.scores_NK, self.labels)

    def score_of_each_view(self) -> list[float]:
        """The same of every view by itself, in the order of clips and their crops; [] where there is no label."""
        with np.load(self.path) as file:
            logits_NVK = file["view_logits"]
        if self.is_multi:
            logits_NVK = np.nan_to_num(logits_NVK, nan=-np.inf)
        found = (_score(logits_NVK[:, view], self.labels) for view in range(logits_NVK.shape[1]))
        return [score for score in found if score is not None]

    def average_precisions(self) -> Iterator[float | None]:
        """Of each class of several labels, from 0 to 1; None where no video has it."""
        return (average_precision(*of) for of in zip(self.scores_NK.T, self.labels.T, strict=True))


def _alone_at_the_top(scores_NK: NDArray[np.floating], labels_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    own_N1 = np.take_along_axis(scores_NK, labels_N[:, None], axis=1)
    right_N: NDArray[np.bool_] = (scores_NK >= own_N1).sum(axis=1) == 1
    return right_N


def _score(scores_NK: NDArray[np.floating], labels: NDArray[Any]) -> float | None:
    if labels.ndim == 1:
        return 100 * float(_alone_at_the_top(scores_NK, labels).mean()) if len(labels) else None
    found = [average_precision(*of) for of in zip(scores_NK.T, labels.T, strict=True)]
    known = [ap for ap in found if ap is not None]
    return 100 * float(np.mean(known)) if known else None


def _read_results(path: Path) -> dict[str, Any]:
    found = read_record(path, Results, "delete it, and test the run again")
    if found is None:
        raise VideoAdaptError(f"{path}: is not there; test the run first: `videoadapt test`")
    return found
