"""From one pass to a map of a class over the grid of its tokens, or of its last feature map: three published equations.

Shapes: C channels, T frames, t h w times, rows and columns of a map; X rows of a batch, the clip or its frames; a heads,
N M tokens, D width.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.inference.explaining.trace import Attention, BlockTrace, Trace

Method = Literal["grad_cam", "relevance", "rollout"]
METHODS: tuple[Method, ...] = get_args(Method)
Step = Callable[[Tensor, Tensor], Tensor]
_NO_ATTENTION = (
    "method: relevance and rollout follow one attention over all tokens in each block, by PyTorch's "
    "scaled_dot_product_attention, which this model does not have; allowed: grad_cam"
)


def map_by_frames(trace: Trace, label: int, method: Method) -> Tensor:
    """Where and when the model looked for a class, (T, h, w) float32, 0 or more.

    Raises ConfigError for a model without such a map, and a method that its attention does not allow.
    """
    _check(trace)
    step = {"relevance": relevance_step, "rollout": rollout_step}.get(method)
    map_thw = grad_cam(trace, label) if step is None else over_blocks(trace, label, step)
    map_thw = map_thw - map_thw.min() * (step is not None)  # what all places have alike, as from the I, marks none
    num_frames = trace.clip.shape[2]
    if num_frames % len(map_thw):
        return _resized(map_thw, (num_frames, *map_thw.shape[1:]))
    shares_T = shares_of_frames(trace, label, len(map_thw))
    return map_thw.repeat_interleave(num_frames // len(map_thw), 0) * shares_T[:, None, None]


def _check(trace: Trace) -> None:
    if trace.blocks and (trace.grid is None or not all(trace.grid)):
        raise ConfigError("this model cannot be explained: it does not say where in a frame its tokens come from")
    if not trace.blocks and not trace.maps:
        raise ConfigError(
            "this model cannot be explained: it has neither blocks of tokens nor a feature map that is pooled"
        )


def rollout_step(weights_XaNM: Tensor, gradient_XaNM: Tensor) -> Tensor:
    """(A + I) / 2 with A the mean over heads: attention rollout, section 3 of arXiv 2005.00928. It knows no class."""
    mean_XNM = weights_XaNM.mean(1)
    return (mean_XNM + torch.eye(mean_XNM.shape[-1], device=mean_XNM.device)) / 2


def relevance_step(weights_XaNM: Tensor, gradient_XaNM: Tensor) -> Tensor:
    """I + the mean over heads of the positive part of A * dy/dA: equations 5 and 6 of arXiv 2103.15679."""
    kept_XNM = (weights_XaNM * gradient_XaNM).clamp(min=0).mean(1)
    return kept_XNM + torch.eye(kept_XNM.shape[-1], device=kept_XNM.device)


def over_blocks(trace: Trace, label: int, step: Step) -> Tensor:
    """S_L ... S_1 over the blocks, its rows averaged: (t, h, w).

    Rows weigh as much as the norm of dy/dx of the token that leaves the last block: a class token alone, or all the same
    where the mean is pooled. Tokens that an adapter puts in front of a block hold nothing of the clip: rows of zeros.
    Raises ConfigError for a model without attention.
    """
    if not trace.blocks:
        raise ConfigError(_NO_ATTENTION)
    calls = [_attention_of(block) for block in trace.blocks]
    *of_outs, of_last = trace.gradients(label, [*(call.out for call in calls), trace.blocks[-1].left])
    first = trace.blocks[0].entered
    reached_XNM = torch.eye(first.shape[1], device=first.device).expand(first.shape[0], -1, -1)
    for block, call, of_out in zip(trace.blocks, calls, of_outs, strict=True):
        # out = A v, and A is in no tensor: dy/dA = dy/dout v^T
        step_XNM = step(call.weights(), of_out @ call.v.detach().float().mT)
        in_front = step_XNM.shape[-1] - reached_XNM.shape[1]
        reached_XNM = step_XNM @ F.pad(reached_XNM, (0, 0, in_front, 0))
        reached_XNM = reached_XNM[:, reached_XNM.shape[1] - block.left.shape[1] :]
    weight_XN = of_last.norm(dim=-1)
    return _on_grid((weight_XN[..., None] / weight_XN.sum() * reached_XNM).sum(1), trace)


def _attention_of(block: BlockTrace) -> Attention:
    """The one call over all tokens."""
    entered, calls = block.entered, block.attention
    whole = entered.ndim == 3 and len(calls) == 1 and len(calls[0].q) == len(entered)
    if whole and calls[0].q.shape[2] == calls[0].k.shape[2] >= entered.shape[1]:
        return calls[0]
    raise ConfigError(_NO_ATTENTION)


def grad_cam(trace: Trace, label: int) -> Tensor:
    """relu(sum over D of dy/dx_D * x_D) at each place: HiResCAM, equation 4 of arXiv 2011.08891, (t, h, w).

    Where the mean over places is pooled, dy/dx is the same at all of them, and this is Grad-CAM (equations 1 and 2 of arXiv
    1610.02391). x is the last feature map before pooling (those of two pathways are added, by how much of the clip a place
    is), or of transformers the last tokens with a gradient: what leaves the last block, or a norm behind it; beside a class
    token what its attention reads. (Never what a norm is given: its dy/dx is at right angles to x, and their product nothing.)
    """
    seen = trace.tokens if trace.blocks else trace.maps
    gradients = [on_places(gradient, trace) for gradient in trace.gradients(label, seen)]
    if trace.blocks:
        last = max((number for number, gradient in enumerate(gradients) if gradient.any()), default=-1)
        seen, gradients = [seen[last]], [gradients[last]]
    pairs = zip(seen, gradients, strict=True)
    pathways = [(on_places(x.detach().float(), trace) * gradient).sum(0) for x, gradient in pairs]
    largest = max(pathways, key=Tensor.numel)
    shares = [_resized(one, largest.shape) * (one.numel() / largest.numel()) for one in pathways]
    return torch.stack(shares).sum(0).clamp(min=0)


def shares_of_frames(trace: Trace, label: int, times: int) -> Tensor:
    """How the value of a place is split among the frames that it covers, (T,): 1 over those of each of `times`.

    A token of several frames says nothing of when. A frame's share is the positive part of dy/dx . (x - the clip's mean
    frame), over all its pixels: to first order, what y would lose by the mean frame in its stead.
    """
    (gradient,) = trace.gradients(label, [trace.clip])
    clip = trace.clip.detach()
    lost_T = ((clip - clip.mean(2, keepdim=True)) * gradient).sum((0, 1, 3, 4))
    lost_tk = lost_T.clamp(min=0).unflatten(0, (times, -1))
    total_t1, even = lost_tk.sum(1, keepdim=True), 1 / lost_tk.shape[1]
    return torch.where(total_t1 > 0, lost_tk / total_t1, torch.full_like(lost_tk, even)).flatten()


def on_places(part: Tensor, trace: Trace) -> Tensor:
    """Tokens, or a feature map, as (D, t, h, w)."""
    if trace.grid is not None:
        by_rows = None if trace.by_rows is None else trace.by_rows(part)
        return _on_grid((part if by_rows is None else by_rows).flatten(1, -2), trace).movedim(-1, 0)
    if part.ndim == 5:
        return part[0]
    has_channels_last = part.shape[-1] == trace.map_width != part.shape[1]
    return part.movedim(-1, 0) if has_channels_last else part.transpose(0, 1)


def _on_grid(values_XN: Tensor, trace: Trace) -> Tensor:
    """Values of tokens, (X, N, ...), where the tokens come from, (t, h, w, ...); tokens in front are of no place."""
    assert trace.grid is not None
    times, height, width = trace.grid
    of_row = times * height * width // len(values_XN)
    return values_XN[:, values_XN.shape[1] - of_row :].reshape(times, height, width, *values_XN.shape[2:])


def _resized(map_thw: Tensor, sides: tuple[int, ...]) -> Tensor:
    return F.interpolate(map_thw[None, None], tuple(sides), mode="trilinear", align_corners=False)[0, 0]
