"""Toy models with an adapter: what the tests of adapters build, move a little, and show a clip."""

import torch
from torch import nn

from videoadapt.config.schema import HeadConfig, ModelConfig
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_model

TINY = {"name": "vit", "size": "tiny", "width": 32, "depth": 3, "num_heads": 2}
RESNET = {"name": "timm", "model": "test_resnet"}
CLIP = torch.randn(4, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
PLAIN = HeadConfig(batch_norm=False)


def build(adapter: dict, backbone: dict = TINY, head: HeadConfig = PLAIN) -> Classifier:
    torch.manual_seed(0)
    return build_model(ModelConfig(backbone=backbone, adapter=adapter, head=head), 5, 4, 16)


def shake(model: nn.Module) -> None:
    """Move every parameter a little, so that no gradient is zero only because a factor starts at zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
