"""AIM: a block's own attention used again over time, and bottlenecks behind both and beside the MLP (arXiv 2302.03024).

Shapes: B clips, T times, N tokens of a time, D width, R width of a bottleneck; X rows of a batch, clips or their frames.
"""

from typing import Annotated, Any

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from videoadapt.errors import ConfigError
from videoadapt.models.adapters._base import Adapter, AdapterModule, Parallel, own_branch, residual_blocks
from videoadapt.models.adapters._time_positions import TimePositions
from videoadapt.models.backbone import Backbone, ResidualBranch, TokenGrid
from videoadapt.registry import ADAPTERS, name_of

_STD = 0.02


class Bottleneck(AdapterModule):
    """x -> up(gelu(down(x))); `down` starts truncated-normal with 0.02 as in the released code, all else zero (section 3.2)."""

    each_token_alone = True

    def __init__(self, width: int, bottleneck: int):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.trunc_normal_(self.down.weight, std=_STD)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x_XND: Tensor) -> Tensor:
        """Return what is added, (X, N, D)."""
        added_XND: Tensor = self.up(F.gelu(self.down(x_XND)))
        return added_XND


class TimeAndSpace(AdapterModule):
    """What stands around an attention: positions in time (in the first block), the temporal and the spatial bottleneck."""

    def __init__(self, width: int, bottleneck: int, num_times: int | None, grid: TokenGrid):
        super().__init__()
        self.grid = grid
        self.positions = None if num_times is None else TimePositions(num_times, width)
        self.temporal = Bottleneck(width, bottleneck)
        self.spatial = Bottleneck(width, bottleneck)

    def over_time(self, attention: ResidualBranch, x_XND: Tensor) -> Tensor:
        """Return positions + temporal(attention over the times of each place), (X, N, D).

        Framewise every token has times, a class token too. Where all times of a clip are one row, tokens in front of the
        clip's own have none, and get nothing.
        """
        times, height, columns = self.grid.thw
        in_front = 0 if self.grid.framewise else x_XND.shape[1] - times * height * columns
        width = x_XND.shape[2]
        x_BTND = x_XND[:, in_front:].reshape(
            -1, times, x_XND.shape[1] if self.grid.framewise else height * columns, width
        )
        placed_BTND = x_BTND if self.positions is None else x_BTND + self.positions(times)[:, None].to(x_XND.dtype)
        placed_PTD = placed_BTND.transpose(1, 2).flatten(0, 1)  # a row of a batch for each place
        added_PTD = self.temporal(attention.undropped(placed_PTD))
        added_BTND = added_PTD.unflatten(0, (-1, x_BTND.shape[2])).transpose(1, 2)
        if self.positions is not None:
            added_BTND = added_BTND + self.positions(times)[:, None].to(x_XND.dtype)
        if self.grid.framewise:
            return added_BTND.flatten(0, 1)
        return F.pad(added_BTND.flatten(1, 2), (0, 0, in_front, 0))


class Around(nn.Module):
    """x -> t + h + spatial(h) with t = over_time(x), h = branch(x + t): the block adds x, and z_T = x + t is what goes on."""

    def __init__(self, branch: nn.Module, adapter: TimeAndSpace):
        super().__init__()
        self.branch = branch
        self.adapter = adapter

    def forward(self, x_XND: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return what the block adds to x, (X, N, D). Positions of space, which the block passes, are for the branch."""
        t_XND = self.adapter.over_time(own_branch(self.branch), x_XND)
        h_XND: Tensor = self.branch(x_XND + t_XND, *args, **context)
        added_XND: Tensor = t_XND + h_XND + self.adapter.spatial(h_XND)
        return added_XND


class Beside(Parallel):
    """x -> branch(x) + scale * adapter(norm(x)), with the norm of the branch."""

    def __init__(self, branch: nn.Module, adapter: Bottleneck, scale: float):
        super().__init__(branch, adapter)
        self.scale = scale

    def join(self, x_BND: Tensor, h_BND: Tensor) -> Tensor:
        """As in Parallel, but the adapter reads what the MLP does."""
        joined_BND: Tensor = h_BND + self.scale * self.adapter(own_branch(self.branch).reads(x_BND))
        return joined_BND


@ADAPTERS.register
class AIM(Adapter):
    """Temporal, spatial and joint adaptation in `blocks` (None: all); `bottleneck` None is a quarter of the width.

    z_T = z + A(MSA over time(LN z)), z_S = z_T + h + A(h) with h = MSA(LN z_T), then z_S + MLP(LN z_S) + scale A(LN z_S).
    Each A is a bottleneck of its own. `num_times` learned positions stand in front of the first block; None: none.
    Trains blocks x 3 x (bottleneck x (2 x width + 1) + width) + num_times x width numbers: for ViT-B 10,657,536, and with a
    bottleneck of 64 3,575,040.
    """

    unmergeable = "it attends over time"

    def __init__(
        self,
        *,
        bottleneck: Annotated[int, Ge(1)] | None = None,
        scale: float = 0.5,
        num_times: Annotated[int, Ge(1)] | None = 8,
        blocks: list[int] | None = None,
    ):
        self.bottleneck, self.scale, self.num_times, self.blocks = bottleneck, scale, num_times, blocks

    def attach(self, backbone: Backbone) -> None:
        """Put the bottlenecks around both branches. Raises ConfigError where an attention takes no tokens over time."""
        num_times = self.num_times
        for block in residual_blocks(self, backbone, self.blocks):
            attention = own_branch(block.attn)
            if attention.own_tokens_only:
                why = attention.own_tokens_only
                raise ConfigError(
                    f"adapter {name_of(self)}: backbone {name_of(backbone)} cannot attend over time: {why}; take "
                    "st_adapter, or a model whose attention is over all tokens"
                )
            grid = getattr(block, "grid", None) or backbone.grid
            assert (
                isinstance(grid, TokenGrid) and isinstance(block.attn, nn.Module) and isinstance(block.mlp, nn.Module)
            )
            width = attention.width
            bottleneck = max(1, width // 4) if self.bottleneck is None else self.bottleneck
            block.attn = Around(block.attn, TimeAndSpace(width, bottleneck, num_times, grid))
            block.mlp = Beside(block.mlp, Bottleneck(width, bottleneck), self.scale)
            num_times = None  # the tokens carry their positions on
