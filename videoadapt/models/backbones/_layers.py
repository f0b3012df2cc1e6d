"""The parts of a pre-norm transformer: a block is two residual branches, and the branches are where adapters attach.

Shapes: B clips, N tokens, D width.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videoadapt.models.attention import attended
from videoadapt.models.backbone import ResidualBranch


class TubeletConv(nn.Conv3d):
    """A convolution whose windows do not overlap; on a GPU one matrix product, 20 times as fast in bf16."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, D, T', H', W') for clips (B, C, T, H, W) whose sides are multiples of the kernel's."""
        if input.is_cuda:
            return self.as_product(input)
        return super().forward(input)

    def as_product(self, clip_BCTHW: Tensor) -> Tensor:
        """The same, but for the order in which numbers are added up."""
        return _as_product(self, clip_BCTHW)


class PatchConv(nn.Conv2d):
    """The same for the patches of images: takes the place of a convolution of timm's, with its very tensors."""

    @classmethod
    def in_place_of(cls, conv: nn.Conv2d) -> nn.Conv2d:
        """A PatchConv with the parameters of `conv`, or `conv` itself where its windows overlap or have gaps."""
        form = conv.kernel_size, conv.padding, conv.dilation, conv.groups
        if type(conv) is not nn.Conv2d or form != (conv.stride, (0, 0), (1, 1), 1):
            return conv
        made = cls(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, device="meta")  # type: ignore[arg-type]
        made.weight, made.bias = conv.weight, conv.bias
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, D, H', W') for images (B, C, H, W)."""
        rests = [side % kernel for side, kernel in zip(input.shape[2:], self.kernel_size, strict=True)]
        if input.is_cuda and not any(rests):
            return self.as_product(input)
        return super().forward(input)

    def as_product(self, images_BCHW: Tensor) -> Tensor:
        """The same, but for the order in which numbers are added up."""
        return _as_product(self, images_BCHW)


def _as_product(conv: nn.Conv2d | nn.Conv3d, input: Tensor) -> Tensor:
    """The convolution of windows that do not overlap, (B, C, *sides) to (B, D, *grid), as one matrix product."""
    batch, channels, *sides = input.shape
    grid = [side // kernel for side, kernel in zip(sides, conv.kernel_size, strict=True)]
    split = [size for pair in zip(grid, conv.kernel_size, strict=True) for size in pair]
    of_grid, of_windows = range(2, 2 + 2 * len(grid), 2), range(3, 3 + 2 * len(grid), 2)
    patches = input.reshape(batch, channels, *split).permute(0, *of_grid, 1, *of_windows)
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else patches.dtype
    patches = patches.to(dtype, memory_format=torch.contiguous_format)  # one copy, and no cast
    return F.linear(patches.reshape(batch, *grid, -1), conv.weight.flatten(1), conv.bias).movedim(-1, 1)


class QKVLinear(nn.Module):
    """Queries, keys and values from one weight (q; k; v stacked), with biases for q and v only, as in VideoMAE.

    Looks like `nn.Linear` (`weight`, `bias`, `in_features`, `out_features`), so that a low-rank adapter can wrap it.
    """

    def __init__(self, width: int):
        super().__init__()
        self.in_features, self.out_features = width, 3 * width
        self.weight = nn.Parameter(torch.empty(3 * width, width))
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.weight, std=0.02)

    @property
    def bias(self) -> Tensor:
        """The stacked bias; softmax ignores a shift common to all keys, so theirs stays zero."""
        return torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))

    @torch.no_grad()
    def take_bias(self, bias: Tensor) -> None:
        """Take a stacked bias (3 D,); the part of the keys is dropped, which changes no attention."""
        q_bias, _, v_bias = bias.chunk(3)
        self.q_bias.copy_(q_bias)
        self.v_bias.copy_(v_bias)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, N, 3 D)."""
        return F.linear(x_BND, self.weight, self.bias)


class Attention(nn.Module):
    """Multi-head self-attention over all tokens of a clip, by fused kernels."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = QKVLinear(width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, N, D)."""
        batch, tokens, width = x_BND.shape
        return self.proj(attended(self.qkv(x_BND).view(batch, tokens, 3, self.num_heads, width // self.num_heads)))


class Mlp(nn.Module):
    """Linear, GELU, Linear, with the parameter names of timm's."""

    def __init__(self, width: int, hidden_width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, N, D)."""
        return self.fc2(self.act(self.fc1(x_BND)))


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): while training, zero what a branch adds to a clip with probability `rate`.

    What is kept is divided by 1 - rate. One draw for each clip of the batch, as in timm. The rate is a tensor, not a Python
    number: torch.compile would make another graph for each block's number, and gives up after eight.
    """

    kept: Tensor

    def __init__(self, rate: float):
        super().__init__()
        self.register_buffer("kept", torch.tensor(1.0 - rate, dtype=torch.float64, device="cpu"), persistent=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, N, D)."""
        if not self.training:
            return x_BND
        drawn = torch.rand(len(x_BND), *[1] * (x_BND.ndim - 1), dtype=torch.float64, device=x_BND.device)
        return x_BND * ((drawn < self.kept).to(x_BND.dtype) / self.kept.to(x_BND.dtype))


class Branch(ResidualBranch):
    """One residual branch with its own norm: x -> drop_path(fn(norm(x))). The block adds x."""

    def __init__(self, fn: nn.Module, width: int, eps: float, drop_path: float):
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(width, eps=eps)
        self.fn = fn
        self.own_tokens_only: str = getattr(fn, "own_tokens_only", "")
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x_BND: Tensor, *context: Tensor) -> Tensor:
        """Return what the block adds to x, (B, N, D)."""
        return self.drop_path(self.undropped(x_BND, *context))

    def undropped(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        """The same, but for stochastic depth."""
        made_BND: Tensor = self.fn(self.norm(x_BND), *args, **context)
        return made_BND

    def reads(self, x_BND: Tensor) -> Tensor:
        """Return the norm of x, (B, N, D)."""
        normed_BND: Tensor = self.norm(x_BND)
        return normed_BND

    def place(self, layer: str) -> tuple[nn.Module, str]:
        """The norm is its own, all others are those of `fn`."""
        return (self, layer) if layer == "norm" else (self.fn, layer.removeprefix("fn."))


class Recomputed(nn.Module):
    """A block that, with `recompute`, keeps in training only what it is given, and computes itself anew for the gradients."""

    recompute = False

    def forward(self, x: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return what `whole` does."""
        if self.recompute and self.training and torch.is_grad_enabled():
            out: Tensor = checkpoint(self.whole, x, *args, use_reentrant=False, **context)
            return out
        return self.whole(x, *args, **context)

    def whole(self, x: Tensor, *args: Any, **context: Any) -> Tensor:
        """Compute the block."""
        raise NotImplementedError


class Block(Recomputed):
    """x + attn(x), then x + mlp(x). What else a backbone gives a block, as a rotation of its tokens, is for the attention."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_ratio: float,
        eps: float,
        drop_path: float,
        attention: Callable[[int, int], nn.Module] = Attention,
    ):
        super().__init__()
        self.attn = Branch(attention(width, num_heads), width, eps, drop_path)
        self.mlp = Branch(Mlp(width, round(width * mlp_ratio)), width, eps, drop_path)

    def whole(self, x: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return (B, N, D)."""
        x_BND = x + self.attn(x, *args, **context)
        out_BND: Tensor = x_BND + self.mlp(x_BND)
        return out_BND


def blocks_of(model: nn.Module) -> list[Block]:
    """Return the blocks of this kind in a model, those of a decoder among them; other backbones have none."""
    return [module for module in model.modules() if isinstance(module, Block)]


def recomputed_in(model: nn.Module) -> list[Recomputed]:
    """Return the blocks of a model that can be computed anew, and compiled: these and the views of timm's."""
    return [module for module in model.modules() if isinstance(module, Recomputed)]


class MeanPool(nn.Module):
    """The mean over tokens."""

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, D), in float32 or better."""
        # not `mean`, which writes down its gradient for every token in float32
        return x_BND.sum(1, dtype=torch.promote_types(x_BND.dtype, torch.float32)) / x_BND.shape[1]
