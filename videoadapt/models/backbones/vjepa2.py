"""V-JEPA 2 and 2.1: a video transformer whose attention turns queries and keys by their tokens' places in time and space.

Shapes: B clips, C channels, T frames, H W pixels, N tokens (time, then height, then width), D width, h heads, d width of one.
"""

from collections.abc import Collection
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.attention import attended
from videoadapt.models.backbones._tubelets import Size, TubeletTransformer
from videoadapt.registry import BACKBONES

SIZES = {
    "base": Size(768, 12, 12),  # 2.1
    "large": Size(1024, 24, 16),
    "huge": Size(1280, 32, 16),  # 2
    "giant": Size(1408, 40, 22, mlp_ratio=48 / 11),
    "gigantic": Size(1664, 48, 26, mlp_ratio=64 / 13),  # 2.1
}
_TRAINED_PX = 256  # 2.1 stretches the places of a larger or smaller crop to those of this one
_BASE = 10_000.0

Version = Literal["v2", "v2.1"]


class RotaryAttention(nn.Module):
    """Multi-head self-attention with turned queries and keys. Keys have a bias: turned, it is no longer the same for all."""

    own_tokens_only = "it turns all tokens of a clip by their places, time among them"

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BND: Tensor, rotation_2N31d: Tensor) -> Tensor:
        """Return (B, N, D). Tokens in front of those that the rotation is of have no place, and are not turned."""
        batch, tokens, width = x_BND.shape
        qkv_BN3hd = self.qkv(x_BND).view(batch, tokens, 3, self.num_heads, width // self.num_heads)
        cos_N31d, sin_N31d = rotation_2N31d
        if in_front := tokens - len(cos_N31d):
            of_them = (0, 0, 0, 0, 0, 0, in_front, 0)
            cos_N31d, sin_N31d = F.pad(cos_N31d, of_them, value=1.0), F.pad(sin_N31d, of_them)
        return self.proj(attended(turned(qkv_BN3hd, cos_N31d, sin_N31d)))


@BACKBONES.register
class VJEPA2(TubeletTransformer):
    """Encoder of V-JEPA 2 (arXiv 2506.09985, section 2; `version` "v2") and of V-JEPA 2.1; arguments override those of `size`.

    The feature is the mean over the normed tokens of the last block; the published classifiers pool by attention instead
    (the adapter attentive_probe with `layers` 3).
    """

    modality: nn.Parameter | None  # (1, 1, D), added to every token of a video; 2.1 alone has it

    def __init__(
        self,
        *,
        version: Version = "v2",
        size: Literal["base", "large", "huge", "giant", "gigantic"] = "large",
        width: Annotated[int, Interval(ge=1, le=16_384)] | None = None,
        depth: Annotated[int, Interval(ge=1, le=200)] | None = None,
        num_heads: Annotated[int, Ge(1)] | None = None,
        mlp_ratio: Annotated[float, Gt(0)] | None = None,
        patch_px: Annotated[int, Ge(1)] | None = None,
        tubelet_frames: Annotated[int, Ge(1)] = 2,
        eps: float = 1e-6,
        drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    ):
        given = dict(zip(Size._fields, (width, depth, num_heads, patch_px, mlp_ratio), strict=True))
        dims = SIZES[size].changed(given)
        head_width = dims.width // dims.num_heads
        if head_width < 6 or head_width % 2:
            raise ConfigError(
                f"num_heads = {dims.num_heads}: makes heads of {head_width} numbers; they are turned in pairs, by time, height "
                "and width, and so need to be even, and 6 at least"
            )
        super().__init__(dims, tubelet_frames, eps, drop_path, RotaryAttention)
        self.version, self.head_width = version, head_width
        self.fc_norm_eps = None  # the norm is the encoder's own
        self.norm = nn.LayerNorm(dims.width, eps=eps)
        self.register_parameter("modality", nn.Parameter(torch.zeros(1, 1, dims.width)) if version == "v2.1" else None)
        # fixed, so neither a parameter nor in the state dict
        self._rotation_2N31d = torch.empty(2, 0, 3, 1, head_width)
        self._rotation_of = (0, 0, 0)

    def grid_THW(self, num_frames: int, height_px: int, width_px: int) -> tuple[int, int, int]:
        """Return the token grid of a clip. Raises ConfigError when a side does not divide, and for 2.1 when it is one patch."""
        grid_THW = super().grid_THW(num_frames, height_px, width_px)
        if self.version == "v2.1" and 1 in grid_THW[1:]:
            raise ArgumentError(
                type(self).__name__,
                f"crop_px = {[height_px, width_px]}: V-JEPA 2.1 stretches places to those of {_TRAINED_PX} px, which needs two "
                f"patches a side at least: {2 * self.patch_px} px",
            )
        return grid_THW

    def positions_elsewhere(self) -> str:
        """Places are counted, by 2.1 from edge to edge of the crop."""
        if self.version == "v2":
            return "tokens are turned by their frame, row and column, counted for the new grid"
        return (
            f"tokens are turned by their frame, and by their row and column stretched to the grid of {_TRAINED_PX} px"
        )

    def undecayed(self) -> Collection[str]:
        """What is added to every token: decay is for what multiplies."""
        return ("modality",)

    def forward_tokens(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the normed tokens of the last block, (B, N, D)."""
        x_BND = self.tokens(clip_BCTHW)
        if self.modality is not None:
            x_BND = x_BND + self.modality.to(x_BND.dtype)
        rotation_2N31d = self._rotation(x_BND.device)
        for block in self.blocks:
            x_BND = block(x_BND, rotation_2N31d)
        normed_BND: Tensor = self.norm(x_BND)
        return normed_BND

    def _rotation(self, device: torch.device) -> Tensor:
        if self._rotation_of != self.grid.thw or self._rotation_2N31d.device != device:
            side = _TRAINED_PX // self.patch_px if self.version == "v2.1" else None
            self._rotation_2N31d = rotation(self.grid.thw, self.head_width, side).to(device)
            self._rotation_of = self.grid.thw
        return self._rotation_2N31d


@torch.inference_mode(False)  # the result is kept, and must stay usable in training
def rotation(grid_THW: tuple[int, int, int], head_width: int, stretched_to: int | None) -> Tensor:
    """Return float32 cosines and sines of the angles that queries, keys and values are turned by: (2, N, 3, 1, d).

    Values are turned by nothing, and with them all three are turned in one pass. Of a pair's first the sine is negative.
    Of a head, 2 floor(d / 6) numbers each turn by the token's time, height and width, the rest by nothing. Number i of the n
    in such a part has the frequency 10000^(-2 (i mod n/2) / n) in V-JEPA 2: the two of a pair turn at different rates, a slip
    of its code that its weights are trained with. In 2.1 (`stretched_to` patches a side) it is 10000^(-2 floor(i / 2) / n), and
    rows and columns go from 0 to stretched_to - 1 in every crop.
    """
    part = 2 * (head_width // 6)
    rate = _BASE ** (-torch.arange(part // 2, dtype=torch.float64, device="cpu") / (part / 2))
    rates = rate.repeat(2) if stretched_to is None else rate.repeat_interleave(2)
    places = [torch.arange(size, dtype=torch.float64, device="cpu") for size in grid_THW]
    if stretched_to is not None:
        places[1:] = [place * (stretched_to - 1) / (len(place) - 1) for place in places[1:]]
    angles = [place.flatten()[:, None] * rates for place in torch.meshgrid(*places, indexing="ij")]
    unturned = torch.zeros(len(angles[0]), head_width - 3 * part, dtype=torch.float64, device="cpu")
    angle_Nd = torch.cat([*angles, unturned], dim=1)
    signs_d = torch.tensor([-1.0, 1.0], dtype=torch.float64, device="cpu").repeat(head_width // 2)
    cos_Nd, sin_Nd = angle_Nd.cos(), angle_Nd.sin() * signs_d
    cos_N3d = torch.stack((cos_Nd, cos_Nd, torch.ones_like(cos_Nd)), dim=1)
    sin_N3d = torch.stack((sin_Nd, sin_Nd, torch.zeros_like(sin_Nd)), dim=1)
    return torch.stack((cos_N3d, sin_N3d)).unsqueeze(3).float()


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x (..., d), each pair (a, b) of its numbers as (a cos - b sin, b cos + a sin), computed in float32.

    `sin` is negative for the first of a pair, see `rotation`.
    """
    other = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return (x * cos + other * sin).to(x.dtype)
