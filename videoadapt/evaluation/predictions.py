"""Averaged predictions of all test videos, and the accuracies in them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.data.structures import Video
from videoadapt.video.readers import FileNotes

Average = Literal["logits", "probs"]


TOP = 5
_AT_ONCE = 256  # videos whose views are averaged together


class Predictions:
    """Per-view logits of a whole list, and every number that follows from them."""

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
        # a part at a time: averages are computed in float64, which takes twice the memory of all logits
        parts = torch.from_numpy(logits_NVK).split(_AT_ONCE)
        self.scores_NK = torch.cat([average_views(part_NVK, average) for part_NVK in parts]).numpy()
        self.labels_N = np.array([video.label for video in videos], dtype=np.int64)
        self.ranks_N = self._ranks()

    def _ranks(self) -> np.ndarray:
        """Place of the right class among the scores, 0 = best; an equal score ahead of it counts against it.

        So a model that answers the same for all classes is never right by luck. Unreadable videos come last.
        """
        own_N1 = np.take_along_axis(self.scores_NK, self.labels_N[:, None], axis=1)
        ranks_N: np.ndarray = (self.scores_NK >= own_N1).sum(axis=1) - 1
        ranks_N[list(self.unreadable)] = self.scores_NK.shape[1]
        return ranks_N

    def results(self) -> dict[str, Any]:
        """Top-1, top-5 and per-class mean in percent over all videos, the same over the readable ones, and counts."""
        readable = np.ones(len(self.videos), dtype=bool)
        readable[list(self.unreadable)] = False
        return {
            **self._accuracies(np.ones_like(readable)),
            "readable_only": self._accuracies(readable),
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
        """Mean cross-entropy of all views of the readable videos, in nats; None without any.

        Summed in float64 in the order of the list, so that it is the same whichever process delivered which view.
        """
        readable_N = np.setdiff1d(np.arange(len(self.videos)), list(self.unreadable))
        if not len(readable_N):
            return None
        total, num_views = 0.0, self.logits_NVK.shape[1]
        for rows in np.array_split(readable_N, -(-len(readable_N) // _AT_ONCE)):
            logits_MK = torch.from_numpy(self.logits_NVK[rows]).double().flatten(0, 1)
            labels_M = torch.from_numpy(self.labels_N[rows]).repeat_interleave(num_views)
            total += float(F.cross_entropy(logits_MK, labels_M, reduction="sum"))
        return total / (len(readable_N) * num_views)

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

    def _accuracies(self, chosen_N: np.ndarray) -> dict[str, float | None]:
        ranks_N, labels_N = self.ranks_N[chosen_N], self.labels_N[chosen_N]
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


def average_views(logits_VK: Tensor, average: Average, as_probs: bool = False) -> Tensor:
    """Average over the views (..., V, K) -> (..., K), summed in float64: raw logits, or softmax probabilities.

    AdaptFormer averages logits, VideoMAE probabilities. `as_probs` turns averaged logits into probabilities at the end.
    """
    scores_VK = logits_VK.double()
    if average == "probs":
        return scores_VK.softmax(dim=-1).mean(dim=-2).float()
    scores_K = scores_VK.mean(dim=-2)
    return (scores_K.softmax(dim=-1) if as_probs else scores_K).float()
