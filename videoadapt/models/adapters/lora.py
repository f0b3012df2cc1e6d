"""LoRA: a low-rank change of chosen weights (arXiv 2106.09685), which merges into them exactly.

Shapes: N tokens, G targets inside one weight, I O inputs and outputs of a target, R rank.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval, MinLen
from torch import Tensor, nn

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.adapters._base import Adapter, AdapterModule, Parallel, bare_layer, layers_in, residual_blocks
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS, name_of

Target = Literal["q", "k", "v", "proj", "fc1", "fc2"]
# Where each target's weight may be: branch, layer, and its place among the equal parts of that layer's rows. Where an MLP has a
# gate, it is in `fc1` too, or beside it as `fc1_g`.
_PLACES = {
    ("attn", "fn.qkv"): ("q", "k", "v"),
    ("attn", "fn.q_proj"): ("q",),
    ("attn", "fn.k_proj"): ("k",),
    ("attn", "fn.v_proj"): ("v",),
    ("attn", "fn.proj"): ("proj",),
    ("mlp", "fn.fc1"): ("fc1",),
    ("mlp", "fn.fc1_g"): ("fc1",),
    ("mlp", "fn.fc1_x"): ("fc1",),
    ("mlp", "fn.fc2"): ("fc2",),
}


class LowRank(AdapterModule):
    """x -> scale * up(down(dropout(x))), section 4.1, for each of `chosen` among `num_parts` equal parts of the output.

    `down` starts Kaiming-uniform (a = sqrt 5), `up` zero, so at first nothing changes. With `own_masks` each part draws its
    own dropout of x, as peft's separate layers do; otherwise all share one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        num_parts: int,
        chosen: list[int],
        rank: int,
        scale: float,
        dropout: float,
        own_masks: bool = False,
    ):
        super().__init__()
        self.num_parts, self.chosen, self.scale, self.own_masks = num_parts, chosen, scale, own_masks
        self.down = nn.Parameter(torch.empty(len(chosen), rank, inputs))  # (G, R, I)
        self.up = nn.Parameter(torch.zeros(len(chosen), outputs // num_parts, rank))  # (G, O, R)
        self.dropout = nn.Dropout(dropout)
        for down_RI in self.down:
            nn.init.kaiming_uniform_(down_RI, a=math.sqrt(5))

    def forward(self, x_NI: Tensor) -> Tensor:
        """Return what is added to the layer's output, (..., num_parts * O)."""
        if self.own_masks:
            low = [F.linear(self.dropout(x_NI), down_RI) for down_RI in self.down]
        else:  # x is read once
            low = list(F.linear(self.dropout(x_NI), self.down.flatten(0, 1)).chunk(len(self.chosen), dim=-1))
        scaled_GOR = self.scale * self.up  # not the large output, whose gradient would be a copy more
        found = {part: F.linear(low_NR, up) for part, low_NR, up in zip(self.chosen, low, scaled_GOR, strict=True)}
        zeros = torch.zeros_like(next(iter(found.values())))
        return torch.cat([found.get(part, zeros) for part in range(self.num_parts)], dim=-1)

    def weight(self) -> Tensor:
        """Return the change as one matrix, (num_parts * O, I)."""
        found = dict(zip(self.chosen, self.up @ self.down, strict=True))
        zeros = torch.zeros_like(next(iter(found.values())))
        return self.scale * torch.cat([found.get(part, zeros) for part in range(self.num_parts)])


class OneProduct(torch.autograd.Function):
    """A frozen layer and the LowRank beside it, without dropout, as one product of (x, low) with (W, U), written once.

    Shapes: x (..., I), low (..., G R), W (O, I), b (O,), `down` (G, R, I), `up` (G, O / parts, R) with the scale in it, which
    U (O, G R) has in the rows of each part that is chosen.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, down: Tensor, up: Tensor, chosen: tuple[int, ...]
    ) -> Tensor:
        """Return (..., O), in the precision of x."""
        low = F.linear(x, down.flatten(0, 1).to(x.dtype))  # x is read once
        ctx.save_for_backward(x, low, weight_OI, down, up)
        ctx.chosen = chosen
        layer_OK = torch.cat([weight_OI, _placed(up, chosen, len(weight_OI))], 1)
        return F.linear(torch.cat([x, low], -1), layer_OK.to(x.dtype), None if bias_O is None else bias_O.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        """Return the gradients of x, `down` and `up`."""
        x, low, weight_OI, down, up = ctx.saved_tensors
        rows, rank = up.shape[1], up.shape[2]
        placed = _placed(up, ctx.chosen, len(weight_OI))  # U
        if ctx.needs_input_grad[0]:
            # The matrix merged with its change, which is rounded to half precision as the layer's own is, gives the gradient of
            # x, and U beside it that of `low`: what is large is read once for both.
            both_OK = torch.cat([weight_OI + placed @ down.flatten(0, 1), placed], 1)
            x_gradient, low_gradient = (gradient @ both_OK.to(x.dtype)).split([x.shape[-1], low.shape[-1]], -1)
        else:  # the lowest block's
            x_gradient, low_gradient = None, gradient @ placed.to(x.dtype)
        of_parts = [gradient[..., part * rows : (part + 1) * rows].flatten(0, -2) for part in ctx.chosen]
        up_gradient = torch.stack(
            [of.mT @ low_NR for of, low_NR in zip(of_parts, low.flatten(0, -2).split(rank, 1), strict=True)]
        )
        down_gradient = (low_gradient.flatten(0, -2).mT @ x.flatten(0, -2)).view(down.shape)
        return x_gradient, None, None, down_gradient, up_gradient, None


def _placed(up: Tensor, chosen: Sequence[int], num_rows: int) -> Tensor:
    """The matrix (num_rows, G R) with each `up` (G, O, R) in the rows of its part and the columns of its `low`."""
    rows, rank = up.shape[1], up.shape[2]
    placed = up.new_zeros(num_rows, len(chosen) * rank)
    for number, part in enumerate(chosen):
        placed[part * rows : (part + 1) * rows, number * rank : (number + 1) * rank] = up[number]
    return placed


class Beside(Parallel):
    """A layer with its LowRank beside it: layer(x) + low_rank(x). A training on a GPU makes one product of both."""

    branch: nn.Linear
    adapter: LowRank

    def forward(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return (B, N, O)."""
        layer, adapter = self.branch, self.adapter
        bias_O: Tensor | None = layer.bias
        is_frozen = not (layer.weight.requires_grad or (bias_O is not None and bias_O.requires_grad))
        # a pass that is explained has gradients, too, and is to the bit the one that predicts
        is_training = self.training and torch.is_grad_enabled()
        # a large product whose rows are no multiple of 16 bytes takes three to seven times as long
        is_aligned = (layer.in_features + adapter.down.shape[:2].numel()) % 8 == 0
        if not (x_BND.is_cuda and is_training and is_frozen and is_aligned) or adapter.dropout.p > 0:
            return super().forward(x_BND, *args, **context)
        if torch.is_autocast_enabled("cuda"):
            x_BND = x_BND.to(torch.get_autocast_dtype("cuda"))
        up = adapter.scale * adapter.up
        made_BNO: Tensor = OneProduct.apply(x_BND, layer.weight, bias_O, adapter.down, up, tuple(adapter.chosen))
        return made_BNO


@ADAPTERS.register
class LoRA(Adapter):
    """Low-rank changes of the `targets` in `blocks` (None: all), scaled by `alpha / rank`.

    `dropout` is of their input, which is one for q, k and v: `dropout_masks` "shared" draws one mask for them, as the paper's
    released code does in a joint layer (`MergedLinear`), "own" one for each, as peft does for separate layers.
    Trains blocks x rank x (inputs + outputs) for each target: for ViT-B, rank 8, q and v 294,912.
    """

    def __init__(
        self,
        *,
        rank: Annotated[int, Ge(1)] = 8,
        alpha: float = 16.0,
        targets: Annotated[list[Target], MinLen(1)] = ["q", "v"],  # noqa: B006 (read only)
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        dropout_masks: Literal["shared", "own"] = "shared",
        blocks: list[int] | None = None,
    ):
        if len(set(targets)) != len(targets):
            raise ConfigError(f"targets = {targets}: each may appear once")
        self.rank, self.scale, self.targets = rank, alpha / rank, targets
        self.dropout, self.own_masks, self.blocks = dropout, dropout_masks == "own", blocks

    def attach(self, backbone: Backbone) -> None:
        """Put a LowRank beside every layer that holds a target. Raises ArgumentError for targets that the backbone has not."""
        for block in residual_blocks(self, backbone, self.blocks):
            places = list(self._layers(block))
            absent = set(self.targets) - {target for _, _, parts in places for target in parts}
            if absent:
                raise ArgumentError(
                    type(self).__name__,
                    f"targets = {self.targets}: backbone {name_of(backbone)} has no {sorted(absent)}",
                )
            for holder, name, parts in places:
                chosen = [number for number, target in enumerate(parts) if target in self.targets]
                layer = bare_layer(self, holder, name)
                sizes = layer.in_features, layer.out_features, len(parts)
                low_rank = LowRank(*sizes, chosen, self.rank, self.scale, self.dropout, self.own_masks)
                setattr(holder, name, Beside(layer, low_rank))

    @torch.no_grad()
    def merge(self, backbone: Backbone) -> None:
        """Add every change to its weight."""
        for block in residual_blocks(self, backbone, self.blocks):
            for holder, name, _ in self._layers(block):
                place = getattr(holder, name)
                assert isinstance(place.adapter, LowRank) and isinstance(place.branch.weight, Tensor)
                place.branch.weight += place.adapter.weight()
                setattr(holder, name, place.branch)

    def _layers(self, block: nn.Module) -> Iterator[tuple[nn.Module, str, tuple[str, ...]]]:
        """The layers of a block that hold a target: the module that has it, its name there, the names of its parts."""
        for (branch, layer), parts in _PLACES.items():
            if set(parts) & set(self.targets):
                for holder, name in layers_in(getattr(block, branch), [layer]):
                    yield holder, name, parts
