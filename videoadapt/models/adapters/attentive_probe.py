"""Attentive probing: a learned query gathers the tokens of the frozen backbone (V-JEPA, arXiv 2404.08471).

V-JEPA's code declares a projection behind the attention and never calls it; V-JEPA 2's has none, and so has ours. Probes of
older files were trained with one, and keep it (`make_room`).

It may look at one feature of each time instead of all tokens, and learn where in time they are: without that it cannot tell
the order of frames that a frame-wise backbone saw one by one.

Shapes: B clips, T times, N tokens, D width, H heads.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from videoadapt import logger
from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.adapters._base import Adapter, AdapterModule
from videoadapt.models.adapters._time_positions import TimePositions
from videoadapt.models.backbone import Backbone, TokenGrid
from videoadapt.models.backbones._layers import Block, Mlp
from videoadapt.registry import ADAPTERS, name_of

_STD = 0.02
_EPS = 1e-5  # of the norms, as in V-JEPA's code for classification


class CrossAttention(nn.Module):
    """One query over all tokens: softmax(q k^T / sqrt(D / H)) v, and in a probe of an older file a projection of it."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj: nn.Module = nn.Identity()

    def forward(self, query_B1D: Tensor, x_BND: Tensor) -> Tensor:
        """Return (B, 1, D)."""
        q = self.q(query_B1D).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(x_BND).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed_B1D: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed_B1D


class AttentivePool(AdapterModule):
    """query + attention(query, norm(x)), then + mlp(norm(.)): V-JEPA's block, of which the query's row is the feature.

    In front of it, x may pass `layers` blocks of self-attention. Weights start truncated-normal with 0.02, those that end a
    branch divided by sqrt(2 n), biases zero: n counts these blocks from 1, and the query's has the number of the last.
    With `num_times` x is first given a learned vector for each time, which V-JEPA has no need of.
    """

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, layers: int = 0, num_times: int | None = None):
        super().__init__()
        self.positions = None if num_times is None else TimePositions(num_times, width)
        self.layers = nn.ModuleList(Block(width, num_heads, mlp_ratio, _EPS, 0.0) for _ in range(layers))
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.tokens_norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width, num_heads)
        self.norm = nn.LayerNorm(width)
        self.mlp = Mlp(width, round(width * mlp_ratio))
        nn.init.trunc_normal_(self.query, std=_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_STD)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.mlp.fc2.weight.div_(math.sqrt(2 * max(layers, 1)))
            for number, block in enumerate(self.layers, 1):
                for ends in ("attn.fn.proj.weight", "mlp.fn.fc2.weight"):
                    block.get_parameter(ends).div_(math.sqrt(2 * number))

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Hold the projection that a file of an older version brings, so that its probe answers as it did."""
        if "attention.proj.weight" in tensors and isinstance(self.attention.proj, nn.Identity):
            like = self.attention.q.weight
            self.attention.proj = nn.Linear(len(like), len(like), device=like.device, dtype=like.dtype)
            logger.info("attentive_probe: an older version's, with a projection behind the attention, which is kept")

    def forward(self, x_BND: Tensor, times: int = 1) -> Tensor:
        """Return the feature, (B, D), in float32 or better; x has equally many tokens of each of the `times` in turn."""
        if self.positions is not None:
            x_BND = (x_BND.unflatten(1, (times, -1)) + self.positions(times)[:, None]).flatten(1, 2)
        for block in self.layers:
            x_BND = block(x_BND)
        query_B1D = self.query.expand(x_BND.shape[0], -1, -1)
        query_B1D = query_B1D + self.attention(query_B1D, self.tokens_norm(x_BND))
        feature_B1D = query_B1D + self.mlp(self.norm(query_B1D))
        return feature_B1D[:, 0].to(torch.promote_types(feature_B1D.dtype, torch.float32))


class Pool(nn.Module):
    """Stands where the backbone's mean over tokens, or over times, stood; `grid` is that of its tokens, None for times."""

    def __init__(self, adapter: AttentivePool, grid: TokenGrid | None):
        super().__init__()
        self.adapter, self.grid = adapter, grid

    def forward(self, x_BND: Tensor) -> Tensor:
        """Return the feature, (B, D)."""
        feature_BD: Tensor = self.adapter(x_BND, x_BND.shape[1] if self.grid is None else self.grid.thw[0])
        return feature_BD


@ADAPTERS.register
class AttentiveProbe(Adapter):
    """An AttentivePool in place of the mean over the last block's tokens; `num_heads` None is the backbone's number.

    `over` "times": in place of the mean over times, of one feature each: the image model's own, or the mean of a time's tokens.
    `num_times`: so many learned positions in time are added to what it looks at; None: none, as in V-JEPA.
    `layers` 3 is V-JEPA 2's (arXiv 2506.09985, section 5), 0 V-JEPA's. fc_norm and the head follow, as everywhere. Trains
    width x ((3 + 2 x mlp_ratio) x width + mlp_ratio + 9) numbers: for ViT-B 6,498,048; and width x ((4 + 2 x mlp_ratio) x width
    + mlp_ratio + 8) for each of `layers`.
    """

    unmergeable = "its query has no place in the backbone"
    starts_unchanged = False

    def __init__(
        self,
        *,
        num_heads: Annotated[int, Ge(1)] | None = None,
        mlp_ratio: Annotated[float, Gt(0)] = 4.0,
        layers: Annotated[int, Ge(0)] = 0,
        over: Literal["tokens", "times"] = "tokens",
        num_times: Annotated[int, Ge(1)] | None = None,
    ):
        self.num_heads, self.mlp_ratio, self.layers, self.num_times = num_heads, mlp_ratio, layers, num_times
        self.place = "pool" if over == "tokens" else "time_pool"

    def attach(self, backbone: Backbone) -> None:
        """Replace the pooling. Raises ConfigError for a backbone that does not let it, and for a number of heads."""
        if not hasattr(backbone, self.place):
            what = "tokens" if self.place == "pool" else "the features of all times"
            raise ConfigError(
                f"adapter {name_of(self)}: needs a backbone that pools {what} in its module `{self.place}`, which backbone "
                f"{name_of(backbone)} does not offer; take vit, or adapter linear or full"
            )
        num_heads = getattr(backbone, "num_heads", None) if self.num_heads is None else self.num_heads
        if num_heads is None:
            raise ArgumentError(
                type(self).__name__,
                f"num_heads = None: this backbone has none; give a divisor of its width {backbone.width}",
            )
        assert isinstance(num_heads, int)
        if backbone.width % num_heads:
            raise ArgumentError(
                type(self).__name__, f"num_heads = {num_heads}: needs to divide the backbone's width {backbone.width}"
            )
        adapter = AttentivePool(backbone.width, num_heads, self.mlp_ratio, self.layers, self.num_times)
        grid = backbone.grid if self.place == "pool" else None
        assert grid is None or isinstance(grid, TokenGrid)
        setattr(backbone, self.place, Pool(adapter, grid))
