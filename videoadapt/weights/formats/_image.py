"""Image ViTs of timm and MAE: a backbone whose patch kernel is 2D and whose positions are stored.

Shapes: D width, t frames of a tubelet, p pixels of a patch, G positions along a side.
"""

from math import isqrt
from typing import Literal

from torch import Tensor

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._names import KEY_BIAS, Found, drop, rename
from videoadapt.weights.formats._videomae import BACKBONE

Inflation = Literal["average", "centre"]


def from_image(tensors: Tensors) -> Found:
    """Drop the class token, the head of image classes, a final norm over all tokens and MAE's decoder; keep `fc_norm`.

    The positions become `backbone.space_positions` (G, G, D). MAE's sinusoid is stored, and treated as learned.
    """
    kept, unused = drop(tensors, r"decoder|mask_token")
    head = kept.get("head.weight")
    if head is not None:
        kept, _ = drop(kept, r"head\.(weight|bias)$")
        unused += (f"head of {len(head)} image classes",)
    if "fc_norm.weight" not in kept:
        kept, norm = drop(kept, r"norm(?=\.)")
        unused += norm
    has_class = kept.pop("cls_token", None) is not None
    unused += ("class token",) * has_class
    positions = kept.pop("pos_embed", None)
    if positions is None:
        raise CheckpointError("an image ViT without `pos_embed`: its kind of positions is not known here")
    kept, has_key_bias = _split_bias(kept)
    unused += (KEY_BIAS,) * has_key_bias
    return Found(
        "image ViT", rename(kept, BACKBONE) | {"backbone.space_positions": _grid(positions, has_class)}, unused
    )


def inflate_kernel(kernel: Tensor, frames: int, how: Inflation) -> Tensor:
    """(D, 3, p, p) -> (D, 3, t, p, p): its t-th part in every frame, or all of it in frame t // 2 and zeros elsewhere.

    On a clip that stands still both give what the image kernel gives (I3D, arXiv 1705.07750; ViViT, arXiv 2103.15691).
    """
    if how == "average":
        return kernel[:, :, None].repeat(1, 1, frames, 1, 1) / frames
    inflated = kernel.new_zeros(*kernel.shape[:2], frames, *kernel.shape[2:])
    inflated[:, :, frames // 2] = kernel
    return inflated


def _split_bias(tensors: Tensors) -> tuple[Tensors, bool]:
    """`attn.qkv.bias` (3 D) -> `q_bias` and `v_bias`, and whether there was one, and so a bias of keys to leave out."""
    split: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith(".attn.qkv.bias") and tensor.ndim == 1 and len(tensor) % 3 == 0:
            stem = name.removesuffix("qkv.bias")
            q, _, v = tensor.chunk(3)
            split |= {f"{stem}q_bias": q.clone(), f"{stem}v_bias": v.clone()}
        else:
            split[name] = tensor
    return split, len(split) > len(tensors)


def _grid(positions: Tensor, has_class: bool) -> Tensor:
    """Stored positions (1, N, D) -> (G, G, D), without that of the class token where it has one."""
    count = positions.shape[1] if positions.ndim == 3 and len(positions) == 1 else 0
    for skip in (1, 0) if has_class else (0,):
        side = isqrt(max(count - skip, 0))
        if side and side * side == count - skip:
            return positions[0, skip:].unflatten(0, (side, side)).contiguous()
    raise CheckpointError(f"pos_embed {tuple(positions.shape)}: not the positions of a square grid of patches")
