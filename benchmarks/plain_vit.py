"""The plain video ViT that ours is measured against: PyTorch's own layers and fused attention, to be compiled whole.

Shapes: B clips, C channels, T frames, H W pixels, N tokens, D width, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainAttention(nn.Module):
    """Joint attention over all tokens of a clip."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads, self.qkv, self.proj = num_heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, N, D)."""
        batch, tokens, width = x_BND.shape
        q, k, v = self.qkv(x_BND).view(batch, tokens, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))


class PlainBlock(nn.Module):
    """A pre-norm block; with a `bottleneck`, AdaptMLP beside its MLP."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, bottleneck: int):
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = PlainAttention(width, num_heads)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.down = nn.Linear(width, bottleneck) if bottleneck else None
        self.up = nn.Linear(bottleneck, width) if bottleneck else None

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return (B, N, D)."""
        x_BND = x_BND + self.attn(self.norm1(x_BND))
        y_BND = self.fc2(F.gelu(self.fc1(self.norm2(x_BND))))
        if self.down is not None and self.up is not None:
            y_BND = y_BND + 0.1 * self.up(F.relu(self.down(x_BND)))
        return x_BND + y_BND


class PlainViT(nn.Module):
    """Normalised clips (B, 3, T, H, W) to logits (B, K). `bottleneck` 0: every parameter trains; else AdaptMLP and the head."""

    def __init__(
        self, *, width: int, depth: int, num_heads: int, patch_px: int, mlp_ratio: float, num_tokens: int, bottleneck: int,
        num_classes: int,
    ):  # fmt: skip
        super().__init__()
        self.patch_px = patch_px
        self.patch = nn.Linear(3 * 2 * patch_px**2, width)
        self.register_buffer("positions_ND", torch.randn(num_tokens, width) * 0.02)
        self.blocks = nn.ModuleList(PlainBlock(width, num_heads, mlp_ratio, bottleneck) for _ in range(depth))
        self.norm, self.batch_norm = nn.LayerNorm(width, eps=1e-6), nn.BatchNorm1d(width, affine=False, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        for name, parameter in self.named_parameters():
            parameter.requires_grad = not bottleneck or any(part in name for part in ("down", "up", "head"))

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        batch, channels, frames, height, width = clip_BCTHW.shape
        p = self.patch_px
        patches = clip_BCTHW.view(batch, channels, frames // 2, 2, height // p, p, width // p, p)
        x_BND = self.patch(patches.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, -1, channels * 2 * p * p))
        x_BND = x_BND + self.positions_ND
        for block in self.blocks:
            x_BND = block(x_BND)
        logits_BK: Tensor = self.head(self.batch_norm(self.norm(x_BND.mean(1))))
        return logits_BK
