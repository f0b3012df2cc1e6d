"""Toy models with an adapter: what the tests of adapters build, move a little, and show a clip."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from videoadapt.config.schema import HeadConfig, ModelConfig
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_model

TINY = {"name": "vit", "size": "tiny", "width": 32, "depth": 3, "num_heads": 2}
RESNET = {"name": "timm", "model": "test_resnet"}
CLIP = torch.randn(4, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
PLAIN = HeadConfig(batch_norm=False)

# One of every method, and two of what combines them, as a yaml says it for a toy backbone.
ADAPTERS: dict[str, Any] = {
    "adaptformer": {"name": "adaptformer", "bottleneck": 4, "scale": "learnable"},
    "linear": {"name": "linear"},
    "full": {"name": "full"},
    "lora": {"name": "lora", "targets": ["q", "k", "v", "proj", "fc1", "fc2"]},
    "ssf": {"name": "ssf"},
    "bitfit": {"name": "bitfit"},
    "houlsby": {"name": "houlsby", "bottleneck": 4},
    "adapter_plus": {"name": "adapter_plus", "bottleneck": 4},
    "st_adapter": {"name": "st_adapter", "bottleneck": 4, "kernel": [3, 3, 3]},
    "aim": {"name": "aim", "bottleneck": 4, "num_times": 2},
    "attentive_probe": {"name": "attentive_probe"},
    "probe_over_times": {"name": "attentive_probe", "over": "times", "num_times": 2},
    "lora+bitfit": [{"name": "lora"}, {"name": "bitfit"}],
    "vpt+st_adapter": [{"name": "vpt"}, {"name": "st_adapter", "bottleneck": 4}],
}


def build(adapter: dict, backbone: dict = TINY, head: HeadConfig = PLAIN) -> Classifier:
    torch.manual_seed(0)
    return build_model(ModelConfig(backbone=backbone, adapter=adapter, head=head), 5, 4, 16)


def shake(model: nn.Module) -> None:
    """Move every parameter a little, so that no gradient is zero only because a factor starts at zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


def shaken(adapter: Any, backbone: dict[str, Any] = TINY) -> Any:
    """A model for testing whose parameters all have a part in what it gives."""
    model = build(adapter, backbone).eval()
    shake(model)
    return model


def gelu_bottleneck(adapter: Any, x: Tensor) -> Tensor:
    """up(gelu(down(x))), written down without the package's modules."""
    inner = x @ adapter.down.weight.T + adapter.down.bias
    inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
    return inner @ adapter.up.weight.T + adapter.up.bias
