"""The residual branches of timm's transformer blocks, found by a table, so that adapters have the same places as in our own.

The blocks stay timm's, with their tensors under timm's names: a view of a block calls its modules, and adapters stand around
the view's branches, as they stand around ours.

Shapes: B images, N tokens, D width, H W rows and columns of tokens.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from timm.layers import Attention
from timm.models import beit, deit, eva, hiera, swin_transformer, swin_transformer_v2, vision_transformer
from torch import Tensor, nn

from videoadapt.models.attention import attended
from videoadapt.models.backbone import ResidualBranch, TokenGrid
from videoadapt.models.backbones._layers import Recomputed

_IN_WINDOWS = "its attention is within windows"


class Form(NamedTuple):
    """How a kind of block is put together; all have norm1, attn, drop_path1, and then norm2, mlp, drop_path2."""

    scale: str = ""  # LayerScale, "1" or "2" behind this name: a module, or a vector
    norm_last: bool = False  # x + norm(fn(x)) instead of x + fn(norm(x))
    attention: str = "attn"  # what is called as attention; Swin's `_attn` shifts and cuts windows around `attn`
    # what a block adds its attention to, where that is not always x
    skip: Callable[[Any, Tensor], Tensor] | None = None
    # why its attention takes no other tokens than an image's, as prompts are and tokens over time
    own_tokens_only: str = ""


def _pooled(block: Any, x_BND: Tensor) -> Tensor:
    """As in Hiera (arXiv 2306.00989): where the width grows, the largest of each token's neighbours, projected or joined."""
    if not block.do_expand:
        return x_BND
    if block.proj is not None:
        projected_BND = block.proj(block.norm1(x_BND))
        return projected_BND.view(x_BND.shape[0], block.attn.q_stride, -1, projected_BND.shape[2]).amax(dim=1)
    neighbours = x_BND.view(x_BND.shape[0], block.attn.q_stride, -1, x_BND.shape[2])
    return torch.cat([neighbours.amax(dim=1), neighbours.mean(dim=1)], dim=-1)


# Models whose blocks are found, and the kinds of blocks that are known. These by their very class: derived ones differ.
MODELS = (
    vision_transformer.VisionTransformer,
    deit.VisionTransformerDistilled,
    eva.Eva,
    beit.Beit,
    swin_transformer.SwinTransformer,
    swin_transformer_v2.SwinTransformerV2,
    hiera.Hiera,
)
FORMS = {
    vision_transformer.Block: Form(scale="ls"),
    vision_transformer.ResPostBlock: Form(norm_last=True),
    eva.EvaBlock: Form(scale="gamma_"),
    eva.EvaBlockPostNorm: Form(norm_last=True),
    beit.Block: Form(
        scale="gamma_", own_tokens_only="its attention has a position for every pair of an image's tokens"
    ),
    swin_transformer.SwinTransformerBlock: Form(attention="_attn", own_tokens_only=_IN_WINDOWS),
    swin_transformer_v2.SwinTransformerV2Block: Form(attention="_attn", norm_last=True, own_tokens_only=_IN_WINDOWS),
    hiera.HieraBlock: Form(scale="ls", skip=_pooled, own_tokens_only=_IN_WINDOWS),
}


class OneTensorAttention(Attention):
    """timm's attention, whose queries, keys and values stay in one tensor where nothing is done to them in between."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Return (B, N, D)."""
        kept = attn_mask is None and not is_causal and self.fused_attn and not (self.training and self.attn_drop.p)
        if not kept or not (isinstance(self.q_norm, nn.Identity) and isinstance(self.k_norm, nn.Identity)):
            own_BND: Tensor = super().forward(x, attn_mask, is_causal)
            return own_BND
        gate_BND = None if self.gate is None else self.gate(x).sigmoid()
        mixed_BND = self.norm(attended(self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim))))
        out_BND: Tensor = self.proj_drop(self.proj(mixed_BND if gate_BND is None else mixed_BND * gate_BND))
        return out_BND


class TimmBranch(ResidualBranch):
    """One branch of a timm block: x -> drop_path(scale(fn(norm(x)))), or drop_path(norm(fn(x))). It owns no tensor."""

    def __init__(self, block: Any, number: int, form: Form, grid: TokenGrid):
        super().__init__()
        # the block in a tuple: not a part of this module
        self._of, self._number, self._form, self._grid = (block,), number, form, grid
        self.keeps_tokens = number == 2 or not getattr(block, "do_expand", False)
        self.own_tokens_only = form.own_tokens_only if number == 1 else ""
        self.width = int(block.norm2.weight.shape[0])

    @property
    def fn(self) -> Any:
        """The attention, or the MLP."""
        return self._of[0].attn if self._number == 1 else self._of[0].mlp

    def place(self, layer: str) -> tuple[nn.Module, str]:
        """In the block for the norm, in attention or MLP for others. Biases outside of `qkv` are then added behind it."""
        if layer == "norm":
            return self._of[0], f"norm{self._number}"
        if self.bias_outside(layer) is not None:
            self.fn.qkv_bias_separate = True  # else it takes the weight out of the layer, and never calls it
        return self.fn, layer.removeprefix("fn.")

    def bias_outside(self, layer: str) -> Callable[[], Tensor] | None:
        """Of the fused layer of BEiT, EVA and Swin V2, whose keys have none."""
        return self._qkv_bias if layer == "fn.qkv" and getattr(self.fn, "q_bias", None) is not None else None

    def _qkv_bias(self) -> Tensor:
        return torch.cat((self.fn.q_bias, self.fn.k_bias, self.fn.v_bias))

    def forward(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return what the block adds, (B, N, D)."""
        added_BND: Tensor = getattr(self._of[0], f"drop_path{self._number}")(self.undropped(x_BND, *args, **context))
        return added_BND

    def undropped(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        """The same, but for stochastic depth."""
        made_BND = self._call(self.reads(x_BND), *args, **context)
        return self._norm(made_BND) if self._form.norm_last else self._scaled(made_BND)

    def reads(self, x_BND: Tensor) -> Tensor:
        """Return the norm of x, or x where the norm comes last, (B, N, D)."""
        return x_BND if self._form.norm_last else self._norm(x_BND)

    def _norm(self, x_BND: Tensor) -> Tensor:
        normed_BND: Tensor = getattr(self._of[0], f"norm{self._number}")(x_BND)
        return normed_BND

    def _call(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        if self._number == 1 and self._form.attention == "_attn":
            attended_BHWD: Tensor = self._of[0]._attn(x_BND.unflatten(1, self._grid.thw[1:]))
            return attended_BHWD.flatten(1, 2)
        added_BND: Tensor = self.fn(x_BND, *args, **context)
        return added_BND

    def _scaled(self, h_BND: Tensor) -> Tensor:
        scale = getattr(self._of[0], f"{self._form.scale}{self._number}") if self._form.scale else None
        if scale is None:
            return h_BND
        scaled_BND: Tensor = scale(h_BND) if isinstance(scale, nn.Module) else scale * h_BND
        return scaled_BND.to(h_BND.dtype)  # under autocast the scale is float32


class TimmBlock(Recomputed):
    """A timm block as its two branches: x + attn(x), then x + mlp(x), the same numbers as the block's own `forward`."""

    # of a training's last block: how many tokens in front its MLP is for, where all others would be dropped behind it
    read_tokens: int | None = None

    def __init__(self, block: Any):
        super().__init__()
        self._of, self.form, self.grid = (block,), FORMS[type(block)], TokenGrid()
        self.num_heads = int(block.attn.heads if hasattr(block.attn, "heads") else block.attn.num_heads)
        self.grid.framewise, self.grid.in_order = True, self.form.skip is None
        self.attn: nn.Module = TimmBranch(block, 1, self.form, self.grid)
        self.mlp: nn.Module = TimmBranch(block, 2, self.form, self.grid)

    def whole(self, x: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return what the block does for (B, N, D), or (B, H, W, D); further arguments are for the attention."""
        if x.ndim == 4:
            self.grid.thw = (self.grid.thw[0], x.shape[1], x.shape[2])
            return self._both(x.flatten(1, 2)).view(x.shape)
        return self._both(x, *args, **context)

    def _both(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        skip_BND = x_BND if self.form.skip is None else self.form.skip(self._of[0], x_BND)
        if not self.grid.in_order:
            self.grid.thw = (self.grid.thw[0], x_BND.shape[1], 1)
        x_BND = skip_BND + self.attn(x_BND, *args, **context)
        if not self.grid.in_order:
            self.grid.thw = (self.grid.thw[0], x_BND.shape[1], 1)
        if self.training and self.read_tokens is not None:
            x_BND = x_BND[:, : self.read_tokens]
        return x_BND + self.mlp(x_BND)

    def make_room_in_front(self, num_tokens: int) -> None:
        """Leave so many more tokens in front without a rotary position."""
        attention = self._of[0].attn
        if hasattr(attention, "num_prefix_tokens"):
            attention.num_prefix_tokens += num_tokens


class Route:
    """Stands in for a timm block's `forward`: calls what is in that block's place among the views.

    Under autocast tokens enter the first block in its precision, as they do in our own backbones, and stay in it: positions in
    float32 would make all that is added up between the blocks float32, to no use (features are 0.5 to 0.9 % off float32's
    either way, with a pre-trained trunk).
    """

    def __init__(self, views: nn.ModuleList, number: int):
        self.views, self.number = views, number

    def __call__(self, x: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return what the view, or an adapter around it, returns."""
        kind = x.device.type
        if self.number == 0 and torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        out: Tensor = self.views[self.number](x, *args, **context)
        return out


def why_unknown(net: nn.Module) -> str:
    """Say why the blocks of a model have no branches that are known; "" where they have."""
    known = ", ".join(model.__name__ for model in MODELS)
    if not isinstance(net, MODELS):
        return f"{type(net).__name__} is none of timm's {known}"
    kinds = {type(block) for block in _blocks(net)} - FORMS.keys()
    return f"its blocks are {', '.join(sorted(kind.__name__ for kind in kinds))}" if kinds else ""


def views_of(net: nn.Module) -> nn.ModuleList:
    """Return a view of every block of a model in its order, which the model calls from then on in the blocks' places."""
    blocks = _blocks(net)
    views = nn.ModuleList(TimmBlock(block) for block in blocks)
    for number, block in enumerate(blocks):
        block.forward = Route(views, number)
        if type(block.attn) is Attention:
            block.attn.__class__ = OneTensorAttention
    return views


def _blocks(net: Any) -> list[Any]:
    """The blocks of a model, which are in `blocks`, or stage by stage in `layers`."""
    stages = [net] if hasattr(net, "blocks") else net.layers
    return [block for stage in stages for block in stage.blocks]
