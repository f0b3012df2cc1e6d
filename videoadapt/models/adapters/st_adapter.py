"""ST-Adapter: a bottleneck with a depth-wise convolution over time and space, in front of a branch (arXiv 2206.13559).

Shapes: B clips, N tokens (time, then height, then width), D width, R width of the bottleneck.
"""

from typing import Annotated, Any, Literal

import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.adapters._base import Adapter, AdapterModule, own_branch, residual_blocks
from videoadapt.models.backbone import Backbone, ResidualBranch, TokenGrid
from videoadapt.registry import ADAPTERS


class ConvBottleneck(AdapterModule):
    """x -> up(conv(down(x))), each channel convolved by itself over the grid of tokens, which is padded with zeros.

    `conv` and all biases start at zero, so at first nothing is added. Tokens in front of the clip's own get nothing, as the
    class token in the released code, which also has no activation.
    """

    def __init__(self, width: int, bottleneck: int, kernel: tuple[int, int, int], grid: TokenGrid):
        super().__init__()
        self.grid = grid
        self.down = nn.Linear(width, bottleneck)
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(bottleneck, bottleneck, kernel, padding=padding, groups=bottleneck)
        self.up = nn.Linear(bottleneck, width)
        for zero in (self.down.bias, self.conv.weight, self.conv.bias, self.up.bias):
            assert zero is not None
            nn.init.zeros_(zero)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return what the adapter adds, (B, N, D)."""
        time, height, width = self.grid.thw
        in_front = x_BND.shape[1] - (height * width if self.grid.framewise else time * height * width)
        inner_BNR = self.down(x_BND[:, in_front:])
        if self.grid.framewise:
            inner_BNR = inner_BNR.reshape(-1, time * height * width, inner_BNR.shape[2])
        inner_BRTHW = self.conv(inner_BNR.transpose(1, 2).unflatten(2, (time, height, width)))
        added_BND: Tensor = self.up(inner_BRTHW.flatten(2).transpose(1, 2))
        if self.grid.framewise:
            added_BND = added_BND.reshape(-1, height * width, x_BND.shape[2])
        return F.pad(added_BND, (0, 0, in_front, 0)) if in_front else added_BND


class Before(nn.Module):
    """x -> a + branch(x + a) with a = adapter(x): the block adds x, so the adapter's sum passes on besides the branch."""

    def __init__(self, branch: nn.Module, adapter: ConvBottleneck):
        super().__init__()
        self.branch = branch
        self.adapter = adapter

    def forward(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return what the block adds to x, (B, N, D). What else the block passes is for the branch."""
        added_BND: Tensor = self.adapter(x_BND)
        return added_BND + self.branch(x_BND + added_BND, *args, **context)


@ADAPTERS.register
class STAdapter(Adapter):
    """A ConvBottleneck in front of the branches `before` of `blocks` (None: all); `kernel` is (time, height, width).

    The released models have 3 x 1 x 1, the one for SSv2 in front of both branches, that for Kinetics of the MLP. Trains
    bottleneck x (2 x width + 2 + numbers of the kernel) + width a place: for ViT-B, bottleneck 64, attention, 1,192,704.
    """

    unmergeable = "its convolution mixes tokens"

    def __init__(
        self,
        *,
        bottleneck: Annotated[int, Ge(1)] = 384,
        kernel: tuple[int, int, int] = (3, 1, 1),
        before: Annotated[list[Literal["attn", "mlp"]], MinLen(1)] = ["attn"],  # noqa: B006 (read only)
        blocks: list[int] | None = None,
    ):
        problems = []
        if any(size < 1 or size % 2 == 0 for size in kernel):
            problems.append(f"kernel = {kernel}: needs three odd numbers: time, height, width")
        if len(set(before)) != len(before):
            problems.append(f"before = {before}: each may appear once")
        if problems:
            raise ConfigError(problems)
        self.bottleneck, self.kernel, self.before, self.blocks = bottleneck, kernel, before, blocks

    def attach(self, backbone: Backbone) -> None:
        """Put a ConvBottleneck in front of each chosen branch. Raises ConfigError for a backbone without a grid of tokens."""
        for block in residual_blocks(self, backbone, self.blocks):
            grid = getattr(block, "grid", None) or backbone.grid
            assert isinstance(grid, TokenGrid)
            for name in self.before:
                branch = getattr(block, name)
                self._check(own_branch(branch), grid, name)
                adapter = ConvBottleneck(own_branch(branch).width, self.bottleneck, self.kernel, grid)
                setattr(block, name, Before(branch, adapter))

    def _check(self, branch: ResidualBranch, grid: TokenGrid, name: str) -> None:
        if not branch.keeps_tokens:
            problem = f"before = {self.before}: the {name} of some blocks pools their tokens; take other blocks, or mlp"
            raise ArgumentError(type(self).__name__, problem)
        if not grid.in_order and self.kernel[1:] != (1, 1):
            problem = (
                f"kernel = {self.kernel}: this backbone's tokens are not in order in space; allowed: (odd number, 1, 1)"
            )
            raise ArgumentError(type(self).__name__, problem)
