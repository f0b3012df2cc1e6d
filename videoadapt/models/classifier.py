"""The classifier: backbone, fc_norm, head.

Shapes: B clips, C channels, T frames, H W pixels, D width, K classes.
"""

import torch
from torch import Tensor, nn

from videoadapt.models.backbone import Backbone
from videoadapt.models.head import Head
from videoadapt.models.parameters import hold_frozen_statistics


class Classifier(nn.Module):
    """Clips in, logits out, in every mode; softmax is the evaluator's business."""

    head_loaded: bool = False  # whether `model.weights` brought a head for these classes
    head_class_names: tuple[str, ...] | None = None  # of that head, where the file tells

    def __init__(self, backbone: Backbone, head: Head):
        super().__init__()
        eps = backbone.fc_norm_eps
        self.backbone = backbone
        self.fc_norm = nn.Identity() if eps is None else nn.LayerNorm(backbone.width, eps=eps)
        self.head = head

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Return logits (B, K); what follows the backbone runs in the parameters' precision, also under autocast."""
        return self.classify(self.backbone(clip_BCTHW))

    def features(self, clip_BCTHW: Tensor) -> Tensor:
        """Return what the head sees, (B, D): the pooled tokens after fc_norm."""
        return self._normed(self.backbone(clip_BCTHW))

    def logits_and_features(self, clip_BCTHW: Tensor) -> Tensor:
        """Return both beside each other, (B, K + D), from one pass."""
        pooled_BD = self.backbone(clip_BCTHW)
        return torch.cat([self.classify(pooled_BD), self._normed(pooled_BD)], dim=1)

    def classify(self, pooled_BD: Tensor) -> Tensor:
        """Return the logits (B, K) for what the backbone gave."""
        normed_BD = self._normed(pooled_BD)
        with torch.autocast(normed_BD.device.type, enabled=False):
            logits_BK: Tensor = self.head(normed_BD)
        return logits_BK

    def _normed(self, pooled_BD: Tensor) -> Tensor:
        with torch.autocast(pooled_BD.device.type, enabled=False):
            normed_BD: Tensor = self.fc_norm(pooled_BD.to(self.head.linear.weight.dtype))
        return normed_BD

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode; BatchNorm layers of a frozen backbone, or head, stay in eval mode."""
        super().train(mode)
        hold_frozen_statistics(self.backbone)
        hold_frozen_statistics(self.head)
        return self
