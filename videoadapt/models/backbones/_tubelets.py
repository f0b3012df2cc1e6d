"""What video transformers over tubelets share: the tokens of a clip, a chain of blocks, pooling.

Shapes: B clips, C channels, T frames, H W pixels, N tokens (time, then height, then width), D width.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.backbone import Backbone, TokenGrid
from videoadapt.models.backbones._layers import Attention, Block, MeanPool, TubeletConv


class Size(NamedTuple):
    """Dimensions of one published (or, for `tiny`, our own) model."""

    width: int
    depth: int
    num_heads: int
    patch_px: int = 16
    mlp_ratio: float = 4.0

    def changed(self, given: Mapping[str, Any]) -> "Size":
        """The same with what is not None of `given`. Raises ConfigError where the heads do not divide the width."""
        dims = self._replace(**{key: value for key, value in given.items() if value is not None})
        if dims.width % dims.num_heads:
            raise ConfigError(f"num_heads = {dims.num_heads}: needs to divide width = {dims.width}")
        return dims


class TubeletTransformer(Backbone):
    """A convolution makes tokens of tubelets, blocks with the branches `attn` and `mlp` change them, `pool` makes the feature.

    A block maps (B, N, D) to (B, N, D); an adapter replaces a branch, or puts a wrapper in the place of a block to put tokens
    in front of it and drop them after (`blocks` is a plain ModuleList).
    """

    def __init__(
        self,
        dims: Size,
        tubelet_frames: int,
        eps: float,
        drop_path: float,
        attention: Callable[[int, int], nn.Module] = Attention,
    ):
        """`attention` makes that of a block from width and number of heads."""
        super().__init__()
        self.width, self.depth, self.num_heads, self.patch_px, self.mlp_ratio = dims
        self.tubelet_frames, self.eps = tubelet_frames, eps
        tubelet = (tubelet_frames, dims.patch_px, dims.patch_px)
        self.patch_embed = TubeletConv(3, dims.width, kernel_size=tubelet, stride=tubelet)
        rates = torch.linspace(0, drop_path, dims.depth, device="cpu").tolist()  # stochastic depth grows with depth
        self.blocks = nn.ModuleList(
            Block(dims.width, dims.num_heads, dims.mlp_ratio, eps, rate, attention) for rate in rates
        )
        self.pool: nn.Module = MeanPool()
        self.time_pool: nn.Module | None = None
        self.grid = TokenGrid()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def grid_THW(self, num_frames: int, height_px: int, width_px: int) -> tuple[int, int, int]:
        """Return the token grid (time, height, width) of a clip. Raises ConfigError when a side does not divide."""
        problems = []
        if num_frames < 1 or num_frames % self.tubelet_frames:
            allowed = f"a multiple of the backbone's tubelet_frames = {self.tubelet_frames}"
            problems.append(f"num_frames = {num_frames}: a clip needs {allowed} frames")
        sides = {"height": height_px, "width": width_px}
        wrong = [name for name, side in sides.items() if side < 1 or side % self.patch_px]
        if wrong:
            got, need = (height_px, "need") if height_px == width_px else ([height_px, width_px], "needs")
            allowed = f"a multiple of the backbone's patch_px = {self.patch_px}"
            problems.append(
                f"crop_px = {got}: {' and '.join(wrong)} {need if len(wrong) == 1 else 'need'} to be {allowed}"
            )
        if problems:
            raise ArgumentError(type(self).__name__, problems)
        return num_frames // self.tubelet_frames, height_px // self.patch_px, width_px // self.patch_px

    def check_clip(self, num_frames: int, height_px: int, width_px: int) -> None:
        """Raise ConfigError unless the clip divides into tubelets."""
        self.grid_THW(num_frames, height_px, width_px)

    def patch_layer(self) -> tuple[nn.Module, str]:
        """The tubelets' convolution."""
        return self, "patch_embed"

    def layer_of(self, parameter: str) -> int:
        """0 for patches and positions, 1 to `depth` for the blocks, depth + 1 for what stands behind them."""
        part, number, *_ = f"{parameter}.".split(".")
        if part == "blocks":
            return int(number) + 1
        return self.depth + 1 if part in ("norm", "pool", "time_pool") else 0

    def tokens(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the tubelets' tokens without positions, (B, N, D), and note their grid for the adapters."""
        self.grid.thw = self.grid_THW(*clip_BCTHW.shape[2:])
        x_BND: Tensor = self.patch_embed(clip_BCTHW).flatten(2).transpose(1, 2)
        return x_BND

    def forward_tokens(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the tokens that are pooled, (B, N, D)."""
        raise NotImplementedError

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the pooled tokens, (B, D): their mean, in float32 under autocast, unless an adapter pools."""
        return self.pooled(self.forward_tokens(clip_BCTHW))

    def pooled(self, x_BND: Tensor) -> Tensor:
        """Return the feature, (B, D), of all tokens of each clip."""
        if self.time_pool is None:
            feature_BD: Tensor = self.pool(x_BND)
            return feature_BD
        dtype = torch.promote_types(x_BND.dtype, torch.float32)
        feature_BD = self.time_pool(x_BND.unflatten(1, (self.grid.thw[0], -1)).mean(2, dtype=dtype))
        return feature_BD
