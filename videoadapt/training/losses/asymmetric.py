"""Asymmetric loss: the many absent classes of a clip count less than the few that are there."""

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor

from videoadapt.registry import LOSSES
from videoadapt.training.losses._base import BinaryLoss, OverClasses

_SMALLEST = 1e-8  # below, a power has no finite gradient


@LOSSES.register
class Asymmetric(BinaryLoss):
    """-(1 - p)^gamma_there log(p) of a class that is there, -q^gamma_absent log(1 - q) of one that is not.

    q = max(p - margin, 0).

    Equations 4 to 7 of Ridnik et al., "Asymmetric Loss For Multi-Label Classification" (arXiv 2009.14119), with the values of
    its released code, which sums over classes. `constant_powers`: no gradient flows through the powers, as that code has it
    unless told otherwise; the paper's does.
    """

    def __init__(
        self,
        *,
        gamma_there: Annotated[float, Ge(0)] = 1.0,
        gamma_absent: Annotated[float, Ge(0)] = 4.0,
        margin: Annotated[float, Interval(ge=0, lt=1)] = 0.05,
        constant_powers: bool = False,
        over_classes: OverClasses = "sum",
    ):
        super().__init__(over_classes)
        self._gammas, self._margin, self._constant = (gamma_there, gamma_absent), margin, constant_powers

    def terms(self, logits_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Return both terms (B, K)."""
        log_p, rest = F.logsigmoid(logits_BK), logits_BK.neg().sigmoid()
        shifted = (rest + self._margin).clamp(max=1)
        log_shifted = shifted.log() if self._margin else F.logsigmoid(-logits_BK)
        powers = [of.clamp(min=_SMALLEST) ** gamma for of, gamma in zip((rest, 1 - shifted), self._gammas, strict=True)]
        there, absent = (power.detach() for power in powers) if self._constant else powers
        return -there * log_p, -absent * log_shifted
