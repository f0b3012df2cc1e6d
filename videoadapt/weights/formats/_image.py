"""Image models, which all come under timm's names first: into the backbone `timm` as they are, or into a video ViT.

Shapes: D width, t frames of a tubelet, p pixels of a patch, G positions along a side.
"""

import re
from math import isqrt
from typing import Literal, NamedTuple

from torch import Tensor

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._names import KEY_BIAS, Found, drop, rename, stack
from videoadapt.weights.formats._videomae import ADAPTERS, BACKBONE, HEAD
from videoadapt.weights.normalisation import Normalisation

Inflation = Literal["average", "centre"]


class ImageModel(NamedTuple):
    """A format's name, its tensors under timm's names, what was left out; activation and normalisation, where it has one."""

    format: str
    tensors: Tensors
    unused: tuple[str, ...] = ()
    activation: str | None = None
    normalisation: Normalisation | None = None
    has_our_head: bool = False  # BatchNorm and Linear, as `head.0` and `head.1`


def to_timm(image: ImageModel) -> Found:
    """For the backbone `timm`: all there is, but for MAE's decoder; class token and classifier are the model's business."""
    kept, unused = drop(image.tensors, r"decoder|mask_token|.*relative_position_index$")
    adapters = {name: tensor for name, tensor in kept.items() if any(_starts(name, old) for old, _ in ADAPTERS)}
    head = {name: tensor for name, tensor in kept.items() if image.has_our_head and name.startswith("head.")}
    own = {f"backbone.net.{name}": tensor for name, tensor in kept.items() if name not in adapters | head}
    return Found(image.format, own | rename(adapters, ADAPTERS) | rename(head, HEAD), image.unused + unused)


def to_vit(image: ImageModel) -> Found:
    """For a video ViT: drop class token, head of image classes, a final norm over all tokens and MAE's decoder; keep `fc_norm`.

    The positions become `backbone.space_positions` (G, G, D). MAE's sinusoid is stored, and treated as learned.
    """
    kept, unused = drop(image.tensors, r"decoder|mask_token")
    kept, batch_norm = drop(kept, r"head\.0(?=\.)")  # AdaptFormer's, in front of its head
    kept = rename(kept, [("head.1.", "head.")]) if batch_norm else kept
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
    kept = rename(kept, BACKBONE + ADAPTERS) | {"backbone.space_positions": _grid(positions, has_class)}
    return Found(image.format, kept, image.unused + unused)


def from_adaptformer_images(tensors: Tensors) -> ImageModel:
    """AdaptFormer's release for images: q, k, v apart and the MLP flat in the block, as in its video code."""
    for kind in ("weight", "bias"):
        tensors = stack(tensors, [f".attn.{letter}_proj.{kind}" for letter in "qkv"], f".attn.qkv.{kind}")
    flat = [(f"blocks.#.{layer}.", f"blocks.#.mlp.{layer}.") for layer in ("fc1", "fc2")]
    return ImageModel("AdaptFormer for images", rename(tensors, flat), has_our_head="head.0.running_mean" in tensors)


def inflate_kernel(kernel: Tensor, frames: int, how: Inflation) -> Tensor:
    """(D, 3, p, p) -> (D, 3, t, p, p): its t-th part in every frame, or all of it in frame t // 2 and zeros elsewhere.

    On a clip that stands still both give what the image kernel gives (I3D, arXiv 1705.07750; ViViT, arXiv 2103.15691).
    """
    if how == "average":
        return kernel[:, :, None].repeat(1, 1, frames, 1, 1) / frames
    inflated = kernel.new_zeros(*kernel.shape[:2], frames, *kernel.shape[2:])
    inflated[:, :, frames // 2] = kernel
    return inflated


def _starts(name: str, rule: str) -> bool:
    """Whether a name begins as a rule says, in which # is a number."""
    return re.match(re.escape(rule).replace(r"\#", r"\d+"), name) is not None


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
