"""The objective of `task: train`: the label of each clip."""

import torch
from torch import Tensor, nn

from videoadapt.data.structures import ClipBatch
from videoadapt.runs.forward import logits_of
from videoadapt.runs.run import Run
from videoadapt.training.mixup import Mixup
from videoadapt.video.transforms import normalise


class Classification:
    """Cross-entropy against labels that mixup, CutMix and smoothing may soften; and how many clips are right."""

    def __init__(self, run: Run):
        self._run = run
        augment = run.config.data.augment
        self._mixup = Mixup(
            mixup_alpha=augment.mixup,
            cutmix_alpha=augment.cutmix,
            label_smoothing=augment.label_smoothing,
            num_classes=len(run.splits.class_names),
        )

    def __call__(self, model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the sums of `loss` and of `top1` (100 for a clip that is right) over the clips."""
        run = self._run
        clips_BCTHW = normalise(batch.clips_BCTHW.to(run.device, non_blocking=True), batch.erase)
        labels_B = batch.labels_B.to(run.device)
        clips_BCTHW, targets_BK = self._mixup(clips_BCTHW, labels_B, generator)
        logits_BK = logits_of(model, run.config, run.device, clips_BCTHW)
        loss = nn.functional.cross_entropy(logits_BK, targets_BK, reduction="sum")
        return {"loss": loss, "top1": 100.0 * (logits_BK.argmax(dim=1) == labels_B).sum()}
