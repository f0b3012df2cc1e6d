"""Predictions of videos with several labels: average precision of each class, and answers by a threshold of each.

Shapes: N videos, V views, K classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from videoadapt.data.structures import Video
from videoadapt.evaluation.average_precision import DEFAULT_THRESHOLD, average_precision, best_threshold
from videoadapt.evaluation.predictions import ListPredictions, probabilities


class Counts(NamedTuple):
    """Of each class (K,): how many videos have it, how many are called so, and how many of these rightly."""

    there_K: np.ndarray
    called_K: np.ndarray
    right_K: np.ndarray

    def f1(self) -> np.ndarray:
        """2 x right / (there + called), of each class; 0 where both are 0."""
        found: np.ndarray = 2 * self.right_K / np.maximum(self.there_K + self.called_K, 1)
        return found


def targets_of(videos: Sequence[Video], num_classes: int) -> NDArray[np.bool_]:
    """Which classes each video has, (N, K)."""
    targets_NK = np.zeros((len(videos), num_classes), dtype=np.bool_)
    for row, video in enumerate(videos):
        targets_NK[row, list(video.labels or ())] = True
    return targets_NK


class MultiPredictions(ListPredictions):
    """Of videos with any number of labels. An unreadable video is called nothing, and comes last in every ranking."""

    kind = "multi"

    def _compare(self) -> None:
        self.scores_NK[list(self.unreadable)] = -np.inf
        self.labels = self.targets_NK = targets_of(self.videos, self.scores_NK.shape[1])
        self.thresholds_K = np.full(self.scores_NK.shape[1], DEFAULT_THRESHOLD)

    @property
    def probs_NK(self) -> np.ndarray:
        """The probability of each class, float64; of an unreadable video 0."""
        scores_NK = torch.from_numpy(self.scores_NK)
        probs_NK = scores_NK.clamp(min=0) if self.average == "probs" else probabilities(scores_NK, self.kind)
        return probs_NK.double().numpy()

    def best_thresholds(self) -> list[float]:
        """Of each class the threshold of the highest F1 on the readable videos."""
        probs_NK, targets_NK = self.probs_NK[self.readable_N], self.targets_NK[self.readable_N]
        return [best_threshold(*of_class) for of_class in zip(probs_NK.T, targets_NK.T, strict=True)]

    def average_precisions(self, chosen_N: np.ndarray | None = None) -> list[float | None]:
        """Of each class, from 0 to 1, over the videos of a mask (N,), or all; None where none of them has it."""
        scores_NK, targets_NK = self.scores_NK, self.targets_NK
        if chosen_N is not None:
            scores_NK, targets_NK = scores_NK[chosen_N], targets_NK[chosen_N]
        return [average_precision(*of_class) for of_class in zip(scores_NK.T, targets_NK.T, strict=True)]

    def counts(self, chosen_N: np.ndarray | None = None) -> Counts:
        """How the thresholds answer about the videos of a mask (N,), or all; an unreadable one is called nothing."""
        called_NK = (self.probs_NK >= self.thresholds_K) & self.readable_N[:, None]
        targets_NK = self.targets_NK
        if chosen_N is not None:
            called_NK, targets_NK = called_NK[chosen_N], targets_NK[chosen_N]
        return Counts(*(of.sum(axis=0) for of in (targets_NK, called_NK, targets_NK & called_NK)))

    def measures(self, chosen_N: np.ndarray) -> dict[str, float | None]:
        """Mean over the classes that a video has of average precision and of F1 (macro), and F1 of all answers (micro)."""
        found = [ap for ap in self.average_precisions(chosen_N) if ap is not None]
        if not found:
            return {"mAP": None, "macro_f1": None, "micro_f1": None}
        counts = self.counts(chosen_N)
        micro = Counts(*(of_K.sum() for of_K in counts)).f1()
        macro = counts.f1()[counts.there_K > 0].mean()
        return {name: round(100 * float(value), 4) for name, value in (
            ("mAP", np.mean(found)), ("macro_f1", macro), ("micro_f1", micro),
        )}  # fmt: skip

    def view_losses(self, logits_MVK: Tensor, rows_M: np.ndarray) -> Tensor:
        """Binary cross-entropy, the mean over the classes."""
        targets_MVK = torch.from_numpy(self.targets_NK[rows_M]).double()[:, None].expand_as(logits_MVK)
        losses_MVK = F.binary_cross_entropy_with_logits(logits_MVK, targets_MVK, reduction="none")
        return losses_MVK.mean(dim=-1).sum()

    def results(self) -> dict[str, Any]:
        """As of any list, with the same over the videos that have a label, and how many have none."""
        labelled_N: np.ndarray = self.targets_NK.sum(axis=1) > 0
        return {
            **super().results(),
            "labelled_only": self.measures(labelled_N),
            "num_without_label": int((~labelled_N).sum()),
            "thresholds": self.thresholds_K.tolist(),
        }
