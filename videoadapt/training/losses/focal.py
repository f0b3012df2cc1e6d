"""Focal loss: what is easily told counts little."""

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor

from videoadapt.registry import LOSSES
from videoadapt.training.losses._base import BinaryLoss, OverClasses


@LOSSES.register
class Focal(BinaryLoss):
    """-alpha (1 - p)^gamma log(p) of a class that is there, -(1 - alpha) p^gamma log(1 - p) of one that is not.

    Equation 5 of Lin et al., "Focal Loss for Dense Object Detection" (arXiv 1708.02002), with its alpha and gamma; an alpha of
    null leaves both at 1, equation 4.
    """

    def __init__(
        self,
        *,
        gamma: Annotated[float, Ge(0)] = 2.0,
        alpha: Annotated[float, Interval(ge=0, le=1)] | None = 0.25,
        over_classes: OverClasses = "mean",
    ):
        super().__init__(over_classes)
        self._gamma = gamma
        self._there, self._absent = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)

    def terms(self, logits_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Return both terms (B, K)."""
        log_p, log_rest = F.logsigmoid(logits_BK), F.logsigmoid(-logits_BK)
        # powers by their logarithms, whose gradients stay finite where p rounds to 0
        there_BK = -self._there * (self._gamma * log_rest).exp() * log_p
        return there_BK, -self._absent * (self._gamma * log_p).exp() * log_rest
