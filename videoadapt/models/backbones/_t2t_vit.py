"""T2T-ViT (arXiv 2101.11986) in timm's registry, which has none: timm's ViT behind tokens that are made of tokens.

Names, sizes and equations are those of the authors' code (github.com/yitu-opensource/T2T-ViT), whose `tokens_to_token` is
timm's `patch_embed` here. Its dropout of 0.1 within a performer, for training from scratch, is left out.

Shapes: B images, C channels, H W pixels, or rows and columns of tokens, N tokens, D width, M random features.
"""

import math
from functools import partial
from typing import Any

import torch
from timm.layers import Mlp
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

_SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))  # window, step and border of each soft split (section 3.1)
_TOKEN_WIDTH = 64
_SIZES = {  # of table 2: width, depth, heads, width of the MLPs over it
    "7": (256, 7, 4, 2.0),
    "10": (256, 10, 4, 2.0),
    "12": (256, 12, 4, 2.0),
    "14": (384, 14, 6, 3.0),
    "19": (448, 19, 7, 3.0),
    "24": (512, 24, 8, 3.0),
}
_MADE_BY = {  # the tokens' layer: performers, or transformers (`t`)
    **{f"t2t_vit_{size}": (size, True) for size in _SIZES},
    **{f"t2t_vit_t_{size}": (size, False) for size in ("14", "19", "24")},
}


class TokenTransformer(nn.Module):
    """Attention and MLP of one head, which narrow tokens (B, N, in_dim) to (B, N, D); values take the place of the skip."""

    def __init__(self, in_dim: int, width: int):
        super().__init__()
        self.scale = in_dim**-0.5  # of the wide tokens, not of the head
        self.norm1, self.norm2 = nn.LayerNorm(in_dim), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(in_dim, 3 * width, bias=False), "proj": nn.Linear(width, width)})
        self.mlp = Mlp(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Return the narrow tokens."""
        q, k, v = self.attn["qkv"](self.norm1(x_BNC)).chunk(3, dim=-1)
        x_BND = v + self.attn["proj"](F.scaled_dot_product_attention(q, k, v, scale=self.scale))
        narrow_BND: Tensor = x_BND + self.mlp(self.norm2(x_BND))
        return narrow_BND


class TokenPerformer(nn.Module):
    """As TokenTransformer, with softmax by M positive random features (Performer, arXiv 2009.14794, equation 5)."""

    w: Tensor

    def __init__(self, in_dim: int, width: int):
        super().__init__()
        features = width // 2
        self.norm1, self.norm2 = nn.LayerNorm(in_dim), nn.LayerNorm(width)
        self.kqv, self.proj = nn.Linear(in_dim, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.register_buffer("w", nn.init.orthogonal_(torch.empty(features, width)) * math.sqrt(features))

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Return the narrow tokens."""
        k, q, v = self.kqv(self.norm1(x_BNC)).chunk(3, dim=-1)
        x_BND = v + self.proj(self._mixed(k, q, v).to(v.dtype))
        narrow_BND: Tensor = x_BND + self.mlp(self.norm2(x_BND))
        return narrow_BND

    def _mixed(self, k_BND: Tensor, q_BND: Tensor, v_BND: Tensor) -> Tensor:
        """The values by their weights; under autocast, too, in the features' precision: exponentials are large and small."""
        with torch.autocast(k_BND.device.type, enabled=False):
            keys_BNM, queries_BNM = self._features(k_BND), self._features(q_BND)
            weighed_BND = queries_BNM @ (keys_BNM.mT @ v_BND.to(self.w.dtype))
            return weighed_BND / (queries_BNM @ keys_BNM.sum(1)[..., None] + 1e-8)

    def _features(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND.to(self.w.dtype)
        return torch.exp(x_BND @ self.w.T - x_BND.square().sum(-1, keepdim=True) / 2) / math.sqrt(len(self.w))


class TokensToTokens(nn.Module):
    """Images (B, 3, H, W) to tokens (B, N, D): windows that overlap are cut out and become narrow tokens, twice, and once more.

    `img_size`, `in_chans` and `embed_dim` are timm's words; `_` takes its arguments for layers of patches.
    """

    def __init__(self, img_size: Any, in_chans: int, embed_dim: int, *, performer: bool, **_: Any):
        super().__init__()
        kind = TokenPerformer if performer else TokenTransformer
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        self.grid_size = self.dynamic_feat_size(self.img_size)
        self.num_patches = math.prod(self.grid_size)
        first, second, third = (window * window for window, _, _ in _SPLITS)
        self.attention1 = kind(in_chans * first, _TOKEN_WIDTH)
        self.attention2 = kind(_TOKEN_WIDTH * second, _TOKEN_WIDTH)
        self.project = nn.Linear(_TOKEN_WIDTH * third, embed_dim)

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the tokens of an image, under timm's name for that."""
        for split in _SPLITS:
            img_size = _size_after(img_size, split)
        return img_size

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the tokens, row by row."""
        if tuple(images_BCHW.shape[-2:]) != self.img_size:
            raise ValueError(f"images of {tuple(images_BCHW.shape[-2:])} px, this T2T-ViT is for {self.img_size}")
        first, second, third = _SPLITS
        size = _size_after(self.img_size, first)
        tokens_BDN = self.attention1(_split(images_BCHW, first)).mT
        tokens_BDN = self.attention2(_split(tokens_BDN.unflatten(2, size), second)).mT
        size = _size_after(size, second)
        tokens_BND: Tensor = self.project(_split(tokens_BDN.unflatten(2, size), third))
        return tokens_BND


def _split(image_BCHW: Tensor, split: tuple[int, int, int]) -> Tensor:
    """The windows of an image as tokens (B, N, C * window * window), each wider than the step to the next."""
    window, step, border = split
    return F.unfold(image_BCHW, window, padding=border, stride=step).mT


def _size_after(size: tuple[int, int], split: tuple[int, int, int]) -> tuple[int, int]:
    window, step, border = split
    rows, columns = ((side + 2 * border - window) // step + 1 for side in size)
    return rows, columns


def _positions(num_tokens: int, width: int) -> Tensor:
    """Sinusoid positions (1, N, D) of a sequence, that of the class token first (arXiv 1706.03762, section 3.5)."""
    rate_D = 10_000.0 ** (-2 * (torch.arange(width, dtype=torch.float64) // 2) / width)
    angle_ND = torch.arange(num_tokens, dtype=torch.float64)[:, None] * rate_D
    return torch.where(torch.arange(width) % 2 == 0, angle_ND.sin(), angle_ND.cos()).float()[None]


def _make(name: str, **given: Any) -> Any:
    """Build a model as timm's `create_model` asks for it; weights come from a file."""
    size, performer = _MADE_BY[name]
    width, depth, heads, ratio = _SIZES[size]
    arguments: dict[str, Any] = {
        "embed_dim": width, "depth": depth, "num_heads": heads, "mlp_ratio": ratio, "qkv_bias": False,
        "norm_layer": nn.LayerNorm,  # torch's epsilon of 1e-5, ten times timm's
        "embed_layer": partial(TokensToTokens, performer=performer),
    }  # fmt: skip
    own = {
        key: value
        for key, value in given.items()
        if key not in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    }
    net: Any = VisionTransformer(**{**arguments, **own})
    width = net.embed_dim
    del net.pos_embed  # fixed, and in the file all the same
    net.register_buffer("pos_embed", _positions(net.patch_embed.num_patches + 1, width))
    net.default_cfg = net.pretrained_cfg = {
        "architecture": name, "input_size": (3, 224, 224), "fixed_input_size": True, "classifier": "head",
        "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
    }  # fmt: skip
    return net


def _entry(name: str) -> Any:
    def entry(pretrained: bool = False, **given: Any) -> Any:  # timm's signature
        return _make(name, **given)

    entry.__name__ = name
    return entry


for _name in _MADE_BY:
    register_model(_entry(_name))
