"""Binary cross-entropy of each class."""

import torch.nn.functional as F
from torch import Tensor

from videoadapt.registry import LOSSES
from videoadapt.training.losses._base import BinaryLoss, OverClasses


@LOSSES.register
class BCE(BinaryLoss):
    """-log(p) of a class that is there, -log(1 - p) of one that is not, where p is the sigmoid of its logit."""

    def __init__(self, *, over_classes: OverClasses = "mean"):
        super().__init__(over_classes)

    def terms(self, logits_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Return both terms (B, K)."""
        return -F.logsigmoid(logits_BK), -F.logsigmoid(-logits_BK)
