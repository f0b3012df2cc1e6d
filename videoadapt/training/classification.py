"""The objective of `task: train`: the label of each clip, or its labels.

Shapes: B clips, C channels, T frames, H W pixels, K classes.
"""

import torch
from torch import Tensor, nn

from videoadapt.data.structures import ClipBatch
from videoadapt.runs.forward import Precision, logits_of
from videoadapt.training.losses import Loss
from videoadapt.training.losses.cross_entropy import CrossEntropy
from videoadapt.training.mixup import Mixup
from videoadapt.video.transforms import normalise


class Classification:
    """A loss against labels that mixup, CutMix and label smoothing may soften, and the share of correct clips."""

    def __init__(
        self,
        mixup: Mixup,
        *,
        precision: Precision = "fp32",
        device: torch.device | None = None,
        weights_K: Tensor | None = None,
        shifts_K: Tensor | None = None,
        loss: Loss | None = None,
        compiled: bool = False,
    ):
        """`device` is the model's; None: the CPU. Float32, from `unequal`: `weights_K` of the classes, `shifts_K` of logits.

        `loss` None is cross-entropy. `compiled` says that the model is, and has what stands before it compiled, too.
        """
        self._compiled = compiled
        self._mixup, self._precision = mixup, precision
        self._device, self._loss = device or torch.device("cpu"), loss or CrossEntropy()
        self._weights_K, self._shifts_K = (None if of is None else of.to(self._device) for of in (weights_K, shifts_K))

    def __call__(self, model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the sums over the B clips of `loss` and of `top1` (100 for a clip whose label has the largest logit).

        `model` maps normalised clips (B, 3, T, H, W) to logits (B, K). The loss is computed in float32. With mixup, `top1`
        compares with the label of the clip itself, not of the one mixed into it. Of clips with several labels there is none.
        """
        clips_BCTHW = normalise(
            batch.clips_BCTHW.to(self._device, non_blocking=True), batch.erase, compiled=self._compiled
        )
        labels_B = batch.labels_B.to(self._device, non_blocking=True)
        clips_BCTHW, targets_BK = self._mixup(clips_BCTHW, labels_B, generator)
        logits_BK = logits_of(model, clips_BCTHW, self._precision)
        shifted_BK = logits_BK if self._shifts_K is None else logits_BK + self._shifts_K
        loss = self._loss(shifted_BK, targets_BK, self._weights_K)
        if self._loss.labels == "multi":
            return {"loss": loss}
        return {"loss": loss, "top1": 100.0 * (logits_BK.argmax(dim=1) == labels_B).sum()}
