"""Cross-entropy over classes that exclude one another."""

import torch.nn.functional as F
from torch import Tensor

from videoadapt.registry import LOSSES
from videoadapt.training.losses._base import Loss


@LOSSES.register
class CrossEntropy(Loss):
    """Of clips with one label, which mixup and label smoothing may soften. A soft label counts each class by its weight."""

    labels = "single"

    def __call__(self, logits_BK: Tensor, targets_BK: Tensor, weights_K: Tensor | None = None) -> Tensor:
        """Return the sum over the clips."""
        return F.cross_entropy(logits_BK, targets_BK, weight=weights_K, reduction="sum")
