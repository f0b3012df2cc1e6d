"""SSF: scale and shift every layer's output (arXiv 2210.08823), which merges into that layer exactly."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from videoadapt.models.adapters._base import Adapter, AdapterModule, bare_layer, original, residual_blocks
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS

_LAYERS = ("norm", "fn.qkv", "fn.proj", "fn.fc1", "fn.fc2")


class ScaleShift(AdapterModule):
    """y -> scale * y + shift over channels, equation 3; starts normal around 1 and 0 with 0.02, as the paper's code."""

    def __init__(self, num_channels: int, dim: int):
        super().__init__()
        self.dim = dim
        self.scale = nn.Parameter(torch.empty(num_channels))
        self.shift = nn.Parameter(torch.empty(num_channels))
        nn.init.normal_(self.scale, mean=1.0, std=0.02)
        nn.init.normal_(self.shift, std=0.02)

    def forward(self, y: Tensor) -> Tensor:
        """Return the same shape; channels lie in dimension `dim`, counted from the end."""
        shape = (-1,) + (1,) * (-self.dim - 1)
        return y * self.scale.view(shape) + self.shift.view(shape)


class After(nn.Module):
    """x -> adapter(branch(x))."""

    def __init__(self, branch: nn.Module, adapter: ScaleShift):
        super().__init__()
        self.branch = branch
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled and shifted output of the layer."""
        scaled: Tensor = self.adapter(self.branch(x))
        return scaled


@ADAPTERS.register
class SSF(Adapter):
    """ScaleShift after the embedding and after every norm and linear layer of every block.

    Trains 2 x (1 + 2 + 3 + 1 + ratio + 1) x width in a block of MLP ratio `ratio`, less 1 for the embedding's own
    2 x width: for ViT-B 204,288 numbers.
    """

    starts_unchanged = False

    def attach(self, backbone: Backbone) -> None:
        """Put a ScaleShift behind every layer."""
        for holder, name in self._places(backbone):
            layer = bare_layer(self, holder, name)
            weight = layer.weight
            setattr(holder, name, After(layer, ScaleShift(len(weight), dim=-4 if weight.ndim == 5 else -1)))

    @torch.no_grad()
    def merge(self, backbone: Backbone) -> None:
        """Fold scale and shift into each layer's weight and bias; a shift of all keys, which softmax ignores, is dropped."""
        for holder, name in self._places(backbone):
            place = getattr(holder, name)
            layer, scale, shift = place.branch, place.adapter.scale, place.adapter.shift
            bias = layer.bias * scale + shift
            layer.weight *= scale.view(-1, *(1,) * (layer.weight.ndim - 1))
            if isinstance(layer.bias, nn.Parameter):
                layer.bias.copy_(bias)
            else:
                layer.take_bias(bias)
            setattr(holder, name, layer)

    def _places(self, backbone: Backbone) -> Iterator[tuple[nn.Module, str]]:
        blocks = residual_blocks(self, backbone)
        yield backbone, "patch_embed"
        for block in blocks:
            for wrapped in (block.attn, block.mlp):
                assert isinstance(wrapped, nn.Module)
                branch = original(wrapped)
                for path in _LAYERS:
                    *above, name = path.split(".")
                    holder = getattr(branch, above[0]) if above else branch
                    if hasattr(holder, name):
                        yield holder, name
