"""Adapter+: a bottleneck behind every block, with a learned scale for each channel (arXiv 2406.06820).

Shapes: B clips, N tokens, D width.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from videoadapt.models.adapters._base import Adapter, Parallel, own_branch, residual_blocks
from videoadapt.models.adapters._bottleneck import NearZeroBottleneck
from videoadapt.models.backbone import Backbone
from videoadapt.models.backbones._layers import DropPath
from videoadapt.registry import ADAPTERS


class ScaledBottleneck(NearZeroBottleneck):
    """x -> scale * drop_path(up(gelu(down(x)))) without a norm; `scale` has D numbers, which start at one."""

    def __init__(self, width: int, bottleneck: int, dropout: float, drop_path: float):
        super().__init__(width, bottleneck, dropout)
        self.scale = nn.Parameter(torch.ones(width))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return what the adapter adds, (B, N, D)."""
        return self.drop_path(super().forward(x_BND)) * self.scale


class Post(Parallel):
    """x -> h + adapter(x + h) with h = branch(x): what the adapter reads is the sum behind the branch."""

    def join(self, x_BND: Tensor, h_BND: Tensor) -> Tensor:
        """As in Parallel, but the adapter reads x + h."""
        joined_BND: Tensor = h_BND + self.adapter(x_BND + h_BND)
        return joined_BND


@ADAPTERS.register
class AdapterPlus(Adapter):
    """y + scale * up(gelu(down(y))) with y the output of each of `blocks` (None: all): the paper's "Post-Adapter".

    Defaults are those of the released code. Trains bottleneck x (2 x width + 1) + 2 x width numbers a block: for ViT-B,
    bottleneck 64, 1,198,848.
    """

    unmergeable = "its bottleneck has a GELU"
    starts_unchanged = False

    def __init__(
        self,
        *,
        bottleneck: Annotated[int, Ge(1)] = 8,
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.1,
        blocks: list[int] | None = None,
    ):
        self.bottleneck, self.dropout, self.drop_path, self.blocks = bottleneck, dropout, drop_path, blocks

    def attach(self, backbone: Backbone) -> None:
        """Put a bottleneck behind the sum that ends each chosen block."""
        for block in residual_blocks(self, backbone, self.blocks):
            assert isinstance(block.mlp, nn.Module)
            width = own_branch(block.mlp).width
            block.mlp = Post(block.mlp, ScaledBottleneck(width, self.bottleneck, self.dropout, self.drop_path))
