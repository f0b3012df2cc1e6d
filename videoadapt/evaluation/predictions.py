"""Averaged predictions of all test videos, and the accuracies in them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.data.label_sets import Kind
from videoadapt.data.structures import Video
from videoadapt.video.readers import FileNotes

Average = Literal["logits", "probs"]


MEASURES = ("top1", "top5", "mean_class", "mAP", "micro_f1", "macro_f1")  # in percent
TOP = 5
_AT_ONCE = 256  # videos whose views are averaged together


def shown_measures(results: Mapping[str, Any], class_names: Sequence[str] | None = None) -> list[str]:
    """Those of the measures in a results.json that say something: of five classes or fewer, every answer is a top-5.

    `class_names`: None for those that it states itself.
    """
    names = results.get("statement", {}).get("class_names") if class_names is None else class_names
    says_nothing = names is not None and len(names) <= TOP
    return [key for key in results if key in MEASURES and not (key == "top5" and says_nothing)]


class ListPredictions:
    """Per-view logits of a whole list, averaged; what follows of them is a matter of how many labels a video has."""

    kind: Kind
    labels: np.ndarray  # int64 (N,), or which of several labels each video has, bool (N, K)

    def __init__(
        self,
        videos: Sequence[Video],
        logits_NVK: np.ndarray,
        unreadable: dict[int, str],
        average: Average = "logits",
        notes: Mapping[int, FileNotes] | None = None,
    ):
        """`notes` on the file of each video that was read, by its row."""
        self.videos = videos
        self.logits_NVK = logits_NVK
        self.unreadable = unreadable
        self.average = average
        self.notes = notes or {}
        # A part at a time: averages are computed in float64, which takes twice the memory of all logits. Each goes to its
        # place at once: kept between the freed ones, the results would keep these from being used again.
        scores_NK = torch.empty(logits_NVK.shape[0], logits_NVK.shape[2])
        for row in range(0, len(scores_NK), _AT_ONCE):
            part_NVK = torch.from_numpy(logits_NVK[row : row + _AT_ONCE])
            scores_NK[row : row + _AT_ONCE] = average_views(part_NVK, average, labels=self.kind)
        self.scores_NK = scores_NK.numpy()
        self._compare()

    def _compare(self) -> None:
        """Set `labels`, and what the scores are to them."""
        raise NotImplementedError

    def measures(self, chosen_N: np.ndarray) -> dict[str, float | None]:
        """What the videos of a mask (N,) are judged by, in percent; None where there are none."""
        raise NotImplementedError

    def view_losses(self, logits_MVK: Tensor, rows_M: np.ndarray) -> Tensor:
        """The sum of the loss of all views of these rows, from their float64 logits."""
        raise NotImplementedError

    @property
    def readable_N(self) -> np.ndarray:
        """A mask of the videos that could be read."""
        readable_N = np.ones(len(self.videos), dtype=bool)
        readable_N[list(self.unreadable)] = False
        return readable_N

    def results(self) -> dict[str, Any]:
        """The measures over all videos, the same over the readable ones, and counts."""
        return {
            **self.measures(np.ones(len(self.videos), dtype=bool)),
            "readable_only": self.measures(self.readable_N),
            "num_videos": len(self.videos),
            "num_unreadable": len(self.unreadable),
            "num_views": self.logits_NVK.shape[1],
            "average": self.average,
            "unreadable": [
                {"video": self.videos[index].id, "line": self.videos[index].line, "reason": reason}
                for index, reason in self.unreadable.items()
            ],
            **self._damage(),
        }

    def loss(self) -> float | None:
        """Mean (binary) cross-entropy of all views of the readable videos, in nats; None without any.

        Summed in float64 in the order of the list, so that it is the same whichever process delivered which view.
        """
        rows_N = np.flatnonzero(self.readable_N)
        if not len(rows_N):
            return None
        total = 0.0
        for rows_M in np.array_split(rows_N, -(-len(rows_N) // _AT_ONCE)):
            total += float(self.view_losses(torch.from_numpy(self.logits_NVK[rows_M]).double(), rows_M))
        return total / (len(rows_N) * self.logits_NVK.shape[1])

    def _damage(self) -> dict[str, Any]:
        """Videos and frames that were read although their decoder marked them, and videos whose decoder marks nothing."""
        found = {index: frames for index, notes in self.notes.items() if (frames := notes.damaged_frames)}
        told = sum(notes.damaged_frames is not None for notes in self.notes.values())
        return {
            "num_damaged_videos": len(found),
            "num_damaged_frames": sum(found.values()),
            "num_damage_unknown": len(self.videos) - len(self.unreadable) - told,
            "damaged": [
                {"video": self.videos[index].id, "line": self.videos[index].line, "frames": frames}
                for index, frames in found.items()
            ],
        }


class Predictions(ListPredictions):
    """Of videos with one label: the share of right answers."""

    kind = "single"

    def _compare(self) -> None:
        self.labels = np.array([video.label for video in self.videos], dtype=np.int64)
        self.ranks_N = self._ranks()

    def _ranks(self) -> np.ndarray:
        """Place of the right class among the scores, 0 = best; an equal score ahead of it counts against it.

        So a model that answers the same for all classes is never right by luck. Unreadable videos come last.
        """
        own_N1 = np.take_along_axis(self.scores_NK, self.labels[:, None], axis=1)
        ranks_N: np.ndarray = (self.scores_NK >= own_N1).sum(axis=1) - 1
        ranks_N[list(self.unreadable)] = self.scores_NK.shape[1]
        return ranks_N

    def view_losses(self, logits_MVK: Tensor, rows_M: np.ndarray) -> Tensor:
        """Cross-entropy."""
        labels_M = torch.from_numpy(self.labels[rows_M]).repeat_interleave(logits_MVK.shape[1])
        return F.cross_entropy(logits_MVK.flatten(0, 1), labels_M, reduction="sum")

    def measures(self, chosen_N: np.ndarray) -> dict[str, float | None]:
        """Top-1, top-5 and per-class mean."""
        ranks_N, labels_N = self.ranks_N[chosen_N], self.labels[chosen_N]
        if not len(ranks_N):
            return {"top1": None, "top5": None, "mean_class": None}
        per_class = [100 * float((ranks_N[labels_N == label] == 0).mean()) for label in np.unique(labels_N)]
        top_k = min(TOP, self.scores_NK.shape[1])
        return {
            "top1": round(100 * float((ranks_N == 0).mean()), 4),
            "top5": round(100 * float((ranks_N < top_k).mean()), 4),
            "mean_class": round(float(np.mean(per_class)), 4),
        }

    def predicted_N(self) -> np.ndarray:
        """Best class of each video, -1 where it is unreadable."""
        best_N: np.ndarray = np.nan_to_num(self.scores_NK, nan=-np.inf).argmax(axis=1)
        best_N[list(self.unreadable)] = -1
        return best_N


def average_views(logits_VK: Tensor, average: Average, as_probs: bool = False, labels: Kind = "single") -> Tensor:
    """Average over the views (..., V, K) -> (..., K), summed in float64: raw logits, or probabilities.

    AdaptFormer averages logits, VideoMAE probabilities. `as_probs` turns averaged logits into probabilities at the end: of
    classes that exclude one another by softmax, of several `labels` by a sigmoid each.
    """
    scores_VK = logits_VK.double()
    if average == "probs":
        return probabilities(scores_VK, labels).mean(dim=-2).float()
    scores_K = scores_VK.mean(dim=-2)
    return (probabilities(scores_K, labels) if as_probs else scores_K).float()


def probabilities(logits_K: Tensor, labels: Kind) -> Tensor:
    """Logits (..., K) -> softmax over classes, or of several labels a sigmoid of each."""
    return logits_K.softmax(dim=-1) if labels == "single" else logits_K.sigmoid()
