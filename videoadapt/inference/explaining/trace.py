"""One pass of one clip with what maps are made of: tokens of the blocks, their attention, the last feature map.

Nothing is replaced: attention is noted where it is called, all else by hooks that go with the pass.
Shapes: C channels, T frames, H W pixels; X rows of a batch, the clip or its frames; a heads, d width of one; N M tokens,
D width.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from videoadapt.models.attention import by_pytorch
from videoadapt.models.backbone import Backbone, TokenGrid
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compiled_only_if
from videoadapt.runs.forward import Precision, autocast
from videoadapt.video.transforms import normalise

GridTHW = tuple[int, int, int]
_SCALE = 1024.0  # of what gradients are taken of: float16 rounds smaller ones to zero


@dataclass(frozen=True)
class Attention:
    """One call of PyTorch's attention: what it was given, and what came out, (X, a, N, d)."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    scale: float | None
    out: Tensor

    def weights(self) -> Tensor:
        """softmax(q k^T scale + mask), (X, a, N, M), float32: computed again, as fused kernels keep none."""
        scale = self.q.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = self.q.detach().float() @ self.k.detach().float().mT * scale
        if self.mask is not None and self.mask.dtype == torch.bool:
            scores = scores.masked_fill(~self.mask, -torch.inf)
        elif self.mask is not None:
            scores = scores + self.mask.detach()
        return scores.softmax(-1)


@dataclass
class BlockTrace:
    """The tokens (X, N, D) that entered a block and that left it, and the attention in between."""

    entered: Tensor
    left: Tensor
    attention: list[Attention]


@dataclass
class Trace:
    """A pass: its clip (1, C, T, H, W), its logits (K,), and what was on the way, all with gradients.

    `tokens`, from the last block on: what leaves it, and every norm of them, in their order, (X, N, D) or (X, H, W, D).
    Without `blocks` there are `maps`: what was pooled last, (1, C, T, H, W) or of frames one by one (T, C, H, W), of two
    pathways two; or tokens (1, N, D). `grid`: where tokens come from; `by_rows` puts those that do not lie row by row there,
    (X, h, w, D). `map_width`: channels of maps of frames, which some networks have last, (T, H, W, C).
    """

    clip: Tensor
    logits: Tensor
    blocks: list[BlockTrace]
    tokens: list[Tensor]
    maps: list[Tensor]
    grid: GridTHW | None
    by_rows: Callable[[Tensor], Tensor | None] | None = None
    map_width: int | None = None

    def gradients(self, label: int, tensors: Sequence[Tensor]) -> list[Tensor]:
        """dy/dx of the class's logit y by each of these, float32; zeros where y does not depend on one."""
        with torch.enable_grad():
            score = _SCALE * self.logits[label]
        found = torch.autograd.grad(score, tensors, retain_graph=True, allow_unused=True, materialize_grads=True)
        return [gradient.float() / _SCALE for gradient in found]


def traced(model: Classifier, clip_CTHW: Tensor, precision: Precision, device: torch.device) -> Trace:
    """Pass one uint8 clip (3, T, H, W) through the model as testing does, and note what maps are made of."""
    clip = normalise(clip_CTHW[None].to(device), [None]).requires_grad_()
    calls, places, blocks = _Calls(), _LastPlaces(clip.shape[2]), list[BlockTrace]()
    modules, tokens = list(getattr(model.backbone, "blocks", ())), list[Tensor]()
    with ExitStack() as undone:
        for block in modules:
            _note_block(block, calls, blocks, undone)
        if modules:
            _note_tokens(model.backbone, modules[-1], tokens, undone)
        for module in () if modules else model.backbone.modules():
            undone.callback(module.register_forward_pre_hook(places.note_input).remove)
            undone.callback(module.register_forward_hook(places.note_output).remove)
        with compiled_only_if(False, model), torch.enable_grad(), autocast(precision, device), by_pytorch(), calls:
            logits_K = model(clip)[0].float()
    trace = Trace(clip, logits_K, blocks, [], places.found, places.grid, map_width=model.backbone.map_width)
    _note_places(trace, model.backbone, tokens)
    return trace


def _note_places(trace: Trace, backbone: Backbone, tokens: Sequence[Tensor]) -> None:
    """Of a backbone with a grid: where its tokens come from, and those of them that are of a place."""
    grid: TokenGrid | None = getattr(backbone, "grid", None)
    if grid is None or not trace.blocks:
        return
    if grid.in_order:
        trace.grid = grid.thw
    elif (rows_XhwD := backbone.by_rows(trace.blocks[-1].left)) is not None:
        trace.grid, trace.by_rows = (grid.thw[0], *rows_XhwD.shape[1:3]), backbone.by_rows
    known = prod(trace.grid or ())
    for part in tokens if trace.grid else ():
        # not a probe's query either, which is no token of the clip, nor what Hiera pools inside its last block
        number = part.numel() // part.shape[-1]
        if number == known or (number > known and grid.in_order):
            trace.tokens.append(part)


class _Calls(TorchFunctionMode):
    """Notes every call of PyTorch's attention, which runs as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Attention] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | (kwargs or {})
            mask, scale = given.get("attn_mask"), given.get("scale")
            self.noted.append(Attention(given["query"], given["key"], given["value"], mask, scale, out))
        return out


def _note_block(block: nn.Module, calls: _Calls, blocks: list[BlockTrace], undone: ExitStack) -> None:
    began: list[tuple[Tensor, int]] = []

    def entered(module: nn.Module, args: Any) -> None:
        began.append((args[0], len(calls.noted)))

    def left(module: nn.Module, args: Any, output: Tensor) -> None:
        tokens, first = began.pop()
        blocks.append(BlockTrace(tokens, output, calls.noted[first:]))

    undone.callback(block.register_forward_pre_hook(entered).remove)
    undone.callback(block.register_forward_hook(left).remove)


def _note_tokens(backbone: nn.Module, last: nn.Module, tokens: list[Tensor], undone: ExitStack) -> None:
    entered: list[Tensor] = []

    def begin(module: nn.Module, args: Any) -> None:
        entered.append(args[0])

    def note(module: nn.Module, args: Any, output: Tensor) -> None:
        ends = (0, -1)  # another width is that of a head's queries and keys
        is_alike = entered and all(output.shape[end] == entered[0].shape[end] for end in ends)
        if module is last or (is_alike and output.ndim > 2):
            tokens.append(output)

    undone.callback(last.register_forward_pre_hook(begin).remove)
    for module in backbone.modules():
        if module is last or "norm" in type(module).__name__.lower():
            undone.callback(module.register_forward_hook(note).remove)


class _LastPlaces:
    """The last feature map before pooling: of all modules' outputs, in their order, the last with more than one place.

    What became tokens is no map any more; a network that hands on the grid beside its tokens, as MViT does, is seen where
    its last module is given both.
    """

    def __init__(self, num_frames: int):
        self._num_frames, self.found = num_frames, list[Tensor]()
        self.grid: GridTHW | None = None

    def note_input(self, module: nn.Module, args: Any) -> None:
        """Look at what a module is given."""
        match args:
            case (Tensor() as tokens, [int() as t, int() as h, int() as w]) if tokens.ndim == 3:
                self.found, self.grid = [tokens], (t, h, w)

    def note_output(self, module: nn.Module, args: Any, output: Any) -> None:
        """Look at what a module returns."""
        parts = output if isinstance(output, list | tuple) else [output]
        if self.grid or not parts or not all(isinstance(part, Tensor) for part in parts):
            return
        if all(self._is_map(part) for part in parts):
            self.found = list(parts)
        elif any(part.ndim == 3 and min(part.shape[1:]) > 1 for part in parts):
            self.found = []

    def _is_map(self, part: Tensor) -> bool:
        rows = {4: self._num_frames, 5: 1}.get(part.ndim)
        return part.shape[0] == rows and prod(part.shape[2:]) > 1
