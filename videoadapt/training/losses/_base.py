"""What a loss is. Shapes: B clips, K classes."""

from typing import ClassVar, Literal

from torch import Tensor

OverClasses = Literal["mean", "sum"]


class Loss:
    """Logits and targets to a number; `labels` says of which clips: with one label each, or with several."""

    labels: ClassVar[Literal["single", "multi"]]

    def __call__(self, logits_BK: Tensor, targets_BK: Tensor, weights_K: Tensor | None = None) -> Tensor:
        """Return the sum over the clips, a scalar. `weights_K`: what an example of each class counts; None: the same."""
        raise NotImplementedError


class BinaryLoss(Loss):
    """Of clips with several labels: each class is asked for alone, and may be there or not.

    A target between 0 and 1, as mixup and label smoothing make, is so much of a class that is there and the rest of one that
    is not: the loss of a mixture is the mixture of the losses. A class's weight counts where it is there.
    """

    labels = "multi"

    def __init__(self, over_classes: OverClasses):
        """Each clip has the mean, or the sum, over its classes."""
        self._mean = over_classes == "mean"

    def terms(self, logits_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (B, K) of each class if it is there, and if it is not."""
        raise NotImplementedError

    def __call__(self, logits_BK: Tensor, targets_BK: Tensor, weights_K: Tensor | None = None) -> Tensor:
        """Return the sum over the clips of their mean or sum over the classes."""
        there_BK, absent_BK = self.terms(logits_BK)
        if weights_K is not None:
            there_BK = there_BK * weights_K
        each_BK = targets_BK * there_BK + (1 - targets_BK) * absent_BK
        return (each_BK.mean(dim=1) if self._mean else each_BK.sum(dim=1)).sum()
