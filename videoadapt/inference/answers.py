"""What a model says about a video: the most probable of its classes.

Shapes: V views, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from videoadapt.data.label_sets import Kind
from videoadapt.evaluation.average_precision import DEFAULT_THRESHOLD
from videoadapt.evaluation.predictions import Average, average_views


@dataclass(frozen=True)
class Prediction:
    """One class and its probability; of several labels a video (`data.labels` multi), whether it is said to be there.

    That is from the threshold of the class on, which a validation has chosen, or 0.5.
    """

    label: int
    name: str
    probability: float
    is_there: bool | None = None


def unknown() -> Prediction:
    """What stands before the classes of a video that is rejected: no class, and no probability either."""
    return Prediction(-1, "unknown", math.nan)


@dataclass(frozen=True)
class Answers:
    """How a task makes answers of logits: its classes, how many of them a video has, and the `thresholds` of several."""

    class_names: list[str]
    labels: Kind
    average: Average
    thresholds: Sequence[float] | None = None

    def best(self, logits_VK: Tensor, top: int) -> list[Prediction]:
        """Return the `top` most probable classes, best first, from the logits of a video's views."""
        probs_K = average_views(logits_VK, self.average, as_probs=True, labels=self.labels)
        best = probs_K.topk(min(top, len(self.class_names)))
        found = [(int(label), float(p)) for p, label in zip(*best, strict=True)]
        return [Prediction(label, self.class_names[label], p, self._is_there(label, p)) for label, p in found]

    def _is_there(self, label: int, probability: float) -> bool | None:
        if self.labels == "single":
            return None
        return probability >= (DEFAULT_THRESHOLD if self.thresholds is None else self.thresholds[label])
