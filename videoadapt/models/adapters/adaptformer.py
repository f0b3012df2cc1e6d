"""AdaptFormer: a small bottleneck beside (or after) the MLP of every block (arXiv 2205.13535).

Shapes: B clips, N tokens, D width.
"""

import math
from typing import Annotated, Literal, TypeAlias

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor, nn

from videoadapt.models.adapters._base import Adapter, AdapterModule, Parallel, Serial, own_branch, residual_blocks
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS

Init: TypeAlias = Literal["paper", "released"]


class Bottleneck(AdapterModule):
    """AdaptMLP: x -> s * up(dropout(relu(down(x)))), equation 2 of the paper, without its figure's LayerNorm.

    `down` starts Kaiming-uniform (a = sqrt 5), everything else zero, so at first the adapter adds nothing. That is the paper's
    start; the released video code initialises the model once more after its adapters are made, so that the weights of both
    layers are normal with 0.02 (`init` "released").
    """

    each_token_alone = True

    def __init__(
        self, width: int, bottleneck: int, scale: float | Literal["learnable"], dropout: float, init: Init = "paper"
    ):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.dropout = nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.ones(1)) if scale == "learnable" else float(scale)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        if init == "released":
            for weight in (self.down.weight, self.up.weight):
                nn.init.trunc_normal_(weight, std=0.02)  # cut at a hundred deviations, as there

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return what the adapter adds, (B, N, D)."""
        low_BNR = self.dropout(F.relu(self.down(x_BND)))
        if self.training:  # the small matrix is scaled, not the large output, whose gradient would be a copy more
            return F.linear(low_BNR, self.up.weight * self.scale, self.up.bias * self.scale)
        return self.up(low_BNR) * self.scale


@ADAPTERS.register
class AdaptFormer(Adapter):
    """AdaptMLP in `blocks` (None: all); `scale` is fixed, or one learned number a block that starts at 1.

    `init` is how it starts: as the paper says, or as the released video code has it; see `Bottleneck`.
    Trains bottleneck x (2 x width + 1) + width numbers a block: for ViT-B, bottleneck 64, 1,189,632.
    """

    unmergeable = "AdaptMLP has a ReLU"

    def __init__(
        self,
        *,
        bottleneck: Annotated[int, Ge(1)] = 64,
        scale: float | Literal["learnable"] = 0.1,
        form: Literal["parallel", "sequential"] = "parallel",
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        init: Init = "paper",
        blocks: list[int] | None = None,
    ):
        self.bottleneck, self.scale, self.dropout, self.blocks = bottleneck, scale, dropout, blocks
        self.init, self.starts_unchanged = init, init == "paper"
        self._join = Parallel if form == "parallel" else Serial

    def attach(self, backbone: Backbone) -> None:
        """Put a Bottleneck on the MLP branch of each chosen block."""
        for block in residual_blocks(self, backbone, self.blocks):
            assert isinstance(block.mlp, nn.Module)
            adapter = Bottleneck(own_branch(block.mlp).width, self.bottleneck, self.scale, self.dropout, self.init)
            block.mlp = self._join(block.mlp, adapter)
