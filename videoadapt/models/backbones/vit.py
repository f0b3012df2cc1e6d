"""VideoMAE's plain video transformer: tubelets, fixed sinusoid positions, joint space-time attention, mean over tokens.

With the weights of an image ViT come its own positions: a learned grid over space, the same at every time. With
`attention` "framewise" each time passes the blocks as a clip by itself, as a frame passes an image model.

Shapes: B clips, C channels, T frames, H W pixels, N tokens (time, then height, then width), D width.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from videoadapt.models.backbones._pixels import Deviation, Pixels
from videoadapt.models.backbones._tubelets import Size, TubeletTransformer
from videoadapt.registry import BACKBONES
from videoadapt.weights.normalisation import Normalisation

SIZES = {
    "tiny": Size(128, 5, 4, patch_px=8),  # ours, for clips of 64 x 64 pixels
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
    "large": Size(1024, 24, 16),
    "huge": Size(1280, 32, 16),
    "giant": Size(1408, 40, 16, patch_px=14, mlp_ratio=48 / 11),  # VideoMAE V2
}


@BACKBONES.register
class ViT(TubeletTransformer):
    """ViT of VideoMAE (arXiv 2203.12602) and VideoMAE V2 (arXiv 2303.16727); arguments override those of `size`.

    `mean` and `std`, of grey levels from 0 to 1: what an image ViT's weights were trained with, where these are not ImageNet's.
    """

    space_positions: nn.Parameter | None  # (rows, columns, D); None: the fixed sinusoid over all tokens

    def __init__(
        self,
        *,
        size: Literal["tiny", "small", "base", "large", "huge", "giant"] = "base",
        width: Annotated[int, Interval(ge=1, le=16_384)] | None = None,
        depth: Annotated[int, Interval(ge=1, le=200)] | None = None,
        num_heads: Annotated[int, Ge(1)] | None = None,
        mlp_ratio: Annotated[float, Gt(0)] | None = None,
        patch_px: Annotated[int, Ge(1)] | None = None,
        tubelet_frames: Annotated[int, Ge(1)] = 2,
        eps: float = 1e-6,
        fc_norm_eps: float = 1e-6,
        drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        attention: Literal["joint", "framewise"] = "joint",
        mean: tuple[float, float, float] | None = None,
        std: tuple[Deviation, Deviation, Deviation] | None = None,
    ):
        given = dict(zip(Size._fields, (width, depth, num_heads, patch_px, mlp_ratio), strict=True))
        super().__init__(SIZES[size].changed(given), tubelet_frames, eps, drop_path)
        self.fc_norm_eps = fc_norm_eps
        self.pixels = Pixels(mean, std)
        self.grid.framewise = attention == "framewise"
        self.register_parameter("space_positions", None)
        self._sinusoid_ND = torch.empty(0, self.width)  # fixed, so neither a parameter nor in the state dict

    @property
    def normalisation(self) -> Normalisation:
        """By `mean` and `std`."""
        return self.pixels.wanted

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Hold `space_positions`, as many rows and columns as the file has; without them the sinusoid stays."""
        found = tensors.get("space_positions")
        if found is not None and found.ndim == 3:
            self.space_positions = nn.Parameter(self.patch_embed.weight.new_zeros(*found.shape[:2], self.width))

    def positions_elsewhere(self) -> str:
        """The sinusoid is computed anew; a learned grid is resized."""
        if self.space_positions is None:
            return "the sinusoid positions are computed for the new grid of tokens"
        return "the learned positions are interpolated in space (bicubically), and are the same at every time"

    def undecayed(self) -> Collection[str]:
        """Positions that came with the weights of an image ViT: decay is for what multiplies."""
        return ("space_positions",)

    def embed(self, clip_BCTHW: Tensor) -> Tensor:
        """Return what enters the blocks: the tubelet tokens with their positions, (B, N, D).

        Framewise they are (B times, rows x columns, D), and each time has the positions of a clip's first.
        """
        x_BND = self.tokens(self.pixels(clip_BCTHW))
        grid_THW = self.grid.thw
        if self.grid.framewise:
            x_BND = x_BND.reshape(-1, grid_THW[1] * grid_THW[2], self.width)
            grid_THW = (1, *grid_THW[1:])
        return x_BND + self.positions(grid_THW, x_BND.device).to(x_BND.dtype)

    def positions(self, grid_THW: tuple[int, int, int], device: torch.device) -> Tensor:
        """Return the positions of a token grid, (N, D)."""
        time, height, width = grid_THW
        if self.space_positions is not None:
            return resized_positions(self.space_positions, height, width).flatten(0, 1).repeat(time, 1)
        num_tokens = time * height * width
        if len(self._sinusoid_ND) != num_tokens or self._sinusoid_ND.device != device:
            self._sinusoid_ND = sinusoid_positions(num_tokens, self.width).to(device)
        return self._sinusoid_ND

    def forward_tokens(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the tokens after the last block, (B, N, D), without a final norm."""
        x_BND = self.embed(clip_BCTHW)
        for block in self.blocks:
            x_BND = block(x_BND)
        return self.of_clips(x_BND)

    def of_clips(self, x_BND: Tensor) -> Tensor:
        """Return all tokens of each clip beside each other, (B, N, D), of what left the last block."""
        times = self.grid.thw[0] if self.grid.framewise else 1
        return x_BND.reshape(-1, times * x_BND.shape[1], x_BND.shape[2]) if times > 1 else x_BND


@torch.inference_mode(False)  # the result is kept, and must stay usable in training
def sinusoid_positions(num_tokens: int, width: int) -> Tensor:
    """Return float32 positions (N, D): sin on even, cos on odd channels of p / 10000^(2 floor(i / 2) / D).

    p is the flattened token index ("Attention is all you need", section 3.5, applied as VideoMAE does).
    """
    channel_D = torch.arange(width, dtype=torch.float64, device="cpu")
    token_N = torch.arange(num_tokens, dtype=torch.float64, device="cpu")
    angle_ND = token_N[:, None] / 10000 ** (2 * (channel_D // 2) / width)  # float64: float32 angles are off by 1e-4
    return torch.where(channel_D % 2 == 0, angle_ND.sin(), angle_ND.cos()).float()


def resized_positions(positions_HWD: Tensor, height: int, width: int) -> Tensor:
    """Return learned positions for another grid, (height, width, D): bicubic without antialiasing, as MAE does it."""
    if positions_HWD.shape[:2] == (height, width):
        return positions_HWD
    resized = F.interpolate(positions_HWD.permute(2, 0, 1)[None], (height, width), mode="bicubic", align_corners=False)
    return resized[0].permute(1, 2, 0)
