"""What the loss does about unequal classes: weights of their examples, and shifts of their logits.

Shapes: K classes. `clips_K`: how many clips of each an epoch has, none of them 0 where it is looked at.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videoadapt.config.schema import EffectiveNumber

Weights = Literal["inverse"] | EffectiveNumber | Sequence[float] | None


def class_weights(asked: Weights, clips_K: NDArray[np.float64]) -> Tensor | None:
    """Return what an example of each class counts in the loss, float32 (K,), as `train.class_weights` asks; None: all the same.

    Where clips have several labels, a clip is an example of each that it has.

    "inverse": one over its number n of clips. `effective`: one over their effective number (1 - beta^n) / (1 - beta): Cui et
    al., "Class-Balanced Loss Based on Effective Number of Samples" (arXiv 1901.05555), section 4. Both are scaled to a mean
    of 1 over the clips of an epoch, so that the learning rate keeps its meaning. A list is taken as it is.
    """
    if asked is None:
        return None
    if isinstance(asked, Sequence) and not isinstance(asked, str):
        return torch.tensor(asked, dtype=torch.float32)
    number_K = clips_K if asked == "inverse" else _effective_number(clips_K, asked.effective)
    weights_K = clips_K.sum() / (clips_K / number_K).sum() / number_K
    return torch.from_numpy(weights_K).float()


def _effective_number(clips_K: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    number_K: NDArray[np.float64] = -np.expm1(clips_K * np.log(beta)) / (1 - beta)
    return number_K


def logit_shifts(tau: float, clips_K: NDArray[np.float64]) -> Tensor | None:
    """Return tau times the logarithm of each class's share of the clips, float32 (K,), which the loss adds to logits; None: 0.

    Equation 10 of Menon et al., "Long-tail Learning via Logit Adjustment" (arXiv 2007.07314): a frequent class gets its head
    start from the shift, so that the logits themselves need not learn it. Predictions are made without.
    """
    return torch.from_numpy(tau * np.log(clips_K / clips_K.sum())).float() if tau else None
