"""The classifier: backbone, fc_norm, head; and how one is built from a config.

Shapes: B clips, C channels, T frames, H W pixels, D width, K classes.
"""

from math import prod
from typing import Any, Protocol

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from videoadapt.adapters import build_adapter, freeze, hold_frozen_statistics
from videoadapt.formats import Inflation, read_weights
from videoadapt.layers import Backbone, Head
from videoadapt.registry import BACKBONES
from videoadapt.weights import load_adapter, load_trunk


class HeadSpec(Protocol):
    """The keys under model.head."""

    @property
    def batch_norm(self) -> bool: ...
    @property
    def sync(self) -> bool: ...
    @property
    def dropout(self) -> float: ...
    @property
    def init_std(self) -> float: ...


class ModelSpec(Protocol):
    """The keys under model."""

    @property
    def backbone(self) -> dict[str, Any]: ...
    @property
    def adapter(self) -> dict[str, Any] | list[dict[str, Any]]: ...
    @property
    def head(self) -> HeadSpec: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def obtain(self) -> str: ...
    @property
    def inflate(self) -> Inflation: ...


class Classifier(nn.Module):
    """Clips in, logits out, in every mode; softmax is the evaluator's business."""

    head_loaded: bool = False  # whether `model.weights` brought a head for these classes

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
        """Set the mode; BatchNorm layers of a frozen backbone stay in eval mode."""
        super().train(mode)
        hold_frozen_statistics(self.backbone)
        return self


def build_model(spec: ModelSpec, num_classes: int, num_frames: int, crop_px: int) -> Classifier:
    """Build backbone -> check that the clip fits -> weights (strict) -> adapter -> freeze; return it in training mode.

    Raises ConfigError for a backbone that does not take such clips or such an adapter, CheckpointError for the weights.
    """
    backbone: Backbone = BACKBONES.build(spec.backbone)
    adapter = build_adapter(spec.adapter)
    backbone.check_clip(num_frames, crop_px, crop_px)
    head = Head(
        backbone.width,
        num_classes,
        batch_norm=spec.head.batch_norm,
        sync=spec.head.sync,
        dropout=spec.head.dropout,
        init_std=spec.head.init_std,
    )
    model = Classifier(backbone, head)
    weights = read_weights(spec.weights, spec.obtain) if spec.weights is not None else None
    if weights is not None:
        report = load_trunk(model, weights, spec.inflate)
        model.head_loaded = not report.replaced and "head" not in report.new
    adapter.attach(backbone)
    if weights is not None:
        load_adapter(model, weights)
    freeze(model, backbone, adapter)
    return model.train()


def count_gflops(model: Classifier, num_frames: int, crop_px: int) -> float:
    """Return the GFLOPs of one clip through the model, one multiply-add counted as one, as fvcore and the papers do."""
    clip_BCTHW = torch.zeros(1, 3, num_frames, crop_px, crop_px, device=next(model.parameters()).device)
    training = model.training
    analysis = FlopCountAnalysis(model.eval(), clip_BCTHW)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with torch.no_grad():
        gflops = float(analysis.total()) / 1e9
    model.train(training)
    return gflops


def _attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of q k^T and of its product with v, for q (B, heads, N, d) and k, v (B, heads, M, d)."""
    q, k, v = (value.type().sizes() for value in inputs[:3])
    return int(prod(q) * k[-2] + prod(q[:-1]) * k[-2] * v[-1])
