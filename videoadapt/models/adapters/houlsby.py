"""Houlsby's adapters: a bottleneck behind the attention and one behind the MLP of every block (arXiv 1902.00751)."""

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Ge, Interval
from torch import nn

from videoadapt.models.adapters._base import Adapter, Serial, layers_in, original, own_branch, residual_blocks
from videoadapt.models.adapters._bottleneck import NearZeroBottleneck
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS


@ADAPTERS.register
class Houlsby(Adapter):
    """x + h + up(gelu(down(h))) with h = branch(x), for both branches of `blocks` (None: all), as in figure 2.

    As there, the norms of these blocks train too, unless `norms` is false. Trains 2 x (bottleneck x (2 x width + 1) +
    width) numbers a block, and 4 x width of its norms: for ViT-B, bottleneck 64, 2,416,128.
    """

    unmergeable = "its bottleneck has a GELU"
    starts_unchanged = False

    def __init__(
        self,
        *,
        bottleneck: Annotated[int, Ge(1)] = 64,
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        norms: bool = True,
        blocks: list[int] | None = None,
    ):
        self.bottleneck, self.dropout, self.norms, self.blocks = bottleneck, dropout, norms, blocks

    def attach(self, backbone: Backbone) -> None:
        """Put a bottleneck behind both branches of each chosen block."""
        for block in residual_blocks(self, backbone, self.blocks):
            for name in ("attn", "mlp"):
                branch = getattr(block, name)
                bottleneck = NearZeroBottleneck(own_branch(branch).width, self.bottleneck, self.dropout)
                setattr(block, name, Serial(branch, bottleneck))

    def trainable(self, backbone: Backbone) -> Iterator[nn.Parameter]:
        """Yield what was added, and the norms of the chosen blocks."""
        yield from super().trainable(backbone)
        if self.norms:
            for block in residual_blocks(self, backbone, self.blocks):
                for branch in (block.attn, block.mlp):
                    for holder, name in layers_in(branch, ["norm"]):
                        yield from original(getattr(holder, name)).parameters()
