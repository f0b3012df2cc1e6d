"""SSF: scale and shift every layer's output (arXiv 2210.08823), which merges into that layer exactly."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from videoadapt.errors import ConfigError
from videoadapt.models.adapters._base import Adapter, AdapterModule, bare_layer, layers_in, own_branch, residual_blocks
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS, name_of

_LAYERS = (
    "norm", "fn.qkv", "fn.q_proj", "fn.k_proj", "fn.v_proj", "fn.proj", "fn.fc1", "fn.fc1_g", "fn.fc1_x", "fn.norm", "fn.fc2"
)  # fmt: skip


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


class AfterLessBias(After):
    """x -> adapter(branch(x) + bias) - bias: the equation for a layer whose bias is added behind this module."""

    def __init__(self, branch: nn.Module, adapter: ScaleShift, bias: Callable[[], Tensor]):
        super().__init__(branch, adapter)
        self._bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return what is left to add the bias to."""
        bias = self._bias()
        scaled: Tensor = self.adapter(self.branch(x) + bias)
        return scaled - bias


def _channels_in(weight: Tensor) -> int:
    """The dimension of a layer's output that its channels lie in: before those of space and time for a convolution's kernel."""
    return 1 - weight.ndim if weight.ndim > 2 else -1


@ADAPTERS.register
class SSF(Adapter):
    """ScaleShift after the embedding and after every norm and linear layer of every block.

    Trains 2 x (1 + 2 + 3 + 1 + ratio + 1) x width in a block of MLP ratio `ratio`, less 1 for the embedding's own
    2 x width: for ViT-B 204,288 numbers.
    """

    starts_unchanged = False

    def attach(self, backbone: Backbone) -> None:
        """Put a ScaleShift behind every layer."""
        for holder, name, bias in self._places(backbone):
            layer = bare_layer(self, holder, name)
            adapter = ScaleShift(len(layer.weight), _channels_in(layer.weight))
            setattr(holder, name, After(layer, adapter) if bias is None else AfterLessBias(layer, adapter, bias))

    @torch.no_grad()
    def merge(self, backbone: Backbone) -> None:
        """Fold scale and shift into each layer's weight and bias; a shift of all keys, which softmax ignores, is dropped.

        Raises ConfigError for a backbone with layers that have no bias to hold the shift.
        """
        places = list(self._places(backbone))
        for holder, name, _ in places:
            if isinstance(holder_layer := getattr(holder, name), AfterLessBias) or holder_layer.branch.bias is None:
                raise ConfigError(
                    f"adapter {name_of(self)}: cannot be merged into the backbone exactly (its layer {name} has no bias that "
                    "could hold the shift); export to .onnx or .pt2, or pass on the run's adapter.safetensors"
                )
        for holder, name, _ in places:
            place = getattr(holder, name)
            layer, scale, shift = place.branch, place.adapter.scale, place.adapter.shift
            bias = layer.bias * scale + shift
            layer.weight *= scale.view(-1, *(1,) * (layer.weight.ndim - 1))
            if isinstance(layer.bias, nn.Parameter):
                layer.bias.copy_(bias)
            else:
                layer.take_bias(bias)
            setattr(holder, name, layer)

    def _places(self, backbone: Backbone) -> Iterator[tuple[nn.Module, str, Callable[[], Tensor] | None]]:
        """Where each layer is: the module that has it, its name there, and what gives its bias if that stands elsewhere."""
        blocks = residual_blocks(self, backbone)
        yield *backbone.patch_layer(), None
        for block in blocks:
            for branch in (block.attn, block.mlp):
                for layer in _LAYERS:
                    for holder, name in layers_in(branch, [layer]):
                        yield holder, name, own_branch(branch).bias_outside(layer)
