"""VideoMAE and VideoMAE V2, as their code saves them; and AdaptFormer's variant of it."""

import torch
from torch import Tensor

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._names import Found, drop, inverse, rename, stack

BACKBONE = (
    ("patch_embed.proj.", "backbone.patch_embed."),
    ("blocks.#.norm1.", "backbone.blocks.#.attn.norm."),
    ("blocks.#.norm2.", "backbone.blocks.#.mlp.norm."),
    ("blocks.#.attn.q_bias", "backbone.blocks.#.attn.fn.qkv.q_bias"),
    ("blocks.#.attn.v_bias", "backbone.blocks.#.attn.fn.qkv.v_bias"),
    ("blocks.#.attn.qkv.weight", "backbone.blocks.#.attn.fn.qkv.weight"),
    ("blocks.#.attn.proj.", "backbone.blocks.#.attn.fn.proj."),
    ("blocks.#.mlp.fc1.", "backbone.blocks.#.mlp.fn.fc1."),
    ("blocks.#.mlp.fc2.", "backbone.blocks.#.mlp.fn.fc2."),
)
_HEAD = (("head.weight", "head.linear.weight"), ("head.bias", "head.linear.bias"))
ADAPTERS = (
    ("blocks.#.adaptmlp.down_proj.", "backbone.blocks.#.mlp.adapter.down."),
    ("blocks.#.adaptmlp.up_proj.", "backbone.blocks.#.mlp.adapter.up."),
    ("blocks.#.adaptmlp.scale", "backbone.blocks.#.mlp.adapter.scale"),
    ("embeddings.#", "backbone.blocks.#.adapter.tokens"),
)
_ADAPTFORMER = (
    ("blocks.#.fc1.", "backbone.blocks.#.mlp.fn.fc1."),
    ("blocks.#.fc2.", "backbone.blocks.#.mlp.fn.fc2."),
)
HEAD = (("head.0.", "head.norm."), ("head.1.", "head.linear."))


def from_pretraining(tensors: Tensors) -> Found:
    """Encoder and decoder; classification takes the mean of the tokens before `encoder.norm`.

    UMT's (arXiv 2303.16058) has VideoMAE's encoder, and in place of the decoder what leads to CLIP's features.
    """
    kept, unused = _encoder(tensors)
    kept, of_umt = drop(kept, "clip_decoder")
    return Found("UMT pre-training" if of_umt else "VideoMAE pre-training", rename(kept, BACKBONE), unused + of_umt)


def refuse_internvideo2(tensors: Tensors) -> None:
    """Raise CheckpointError for InternVideo2 (arXiv 2403.15377), told by its norms of queries and keys."""
    if any(name.endswith(".attn.q_norm.weight") for name in tensors):
        raise CheckpointError(
            "InternVideo2, which is not read: no video backbone here has its RMSNorm, norms of queries and keys, LayerScale, "
            "class token and pooling by attention"
        )


def from_fine_tuned(tensors: Tensors, *, on_hub: bool = False) -> Found:
    """A backbone, `fc_norm` and a plain `head`, also V2's distilled students; V2 is on Hugging Face, too.

    MMAction2 saves the sinusoid positions, which are computed here. Raises CheckpointError for any others.
    """
    positions = tensors.get("pos_embed")
    if positions is not None and not _is_sinusoid(positions):
        raise CheckpointError(
            "its positions (pos_embed) are learned or of another kind; a vit computes VideoMAE's sinusoid"
        )
    kept = {name: tensor for name, tensor in tensors.items() if name != "pos_embed"}
    unused = ("pos_embed (the sinusoid, computed here)",) * (positions is not None)
    return Found(
        "VideoMAE V2 on Hugging Face" if on_hub else "VideoMAE fine-tuned", rename(kept, BACKBONE + _HEAD), unused
    )


def _is_sinusoid(positions: Tensor) -> bool:
    """Whether stored positions (1, N, D) are VideoMAE's: sin on even, cos on odd channels of p / 10000^(2 floor(i / 2) / D)."""
    if positions.ndim != 3 or len(positions) != 1:
        return False
    _, count, width = positions.shape
    even = torch.arange(width) // 2 * 2
    angle = torch.arange(count, dtype=torch.float64)[:, None] / 10000 ** (even.double() / width)
    expected = torch.where(torch.arange(width) == even, angle.sin(), angle.cos())
    return bool((positions[0] - expected).abs().max() < 2e-3)  # in half precision, too


def from_adaptformer(tensors: Tensors) -> Found:
    """AdaptFormer's code: q, k, v apart, the MLP flat in the block, `adaptmlp` or VPT's `embeddings`, BatchNorm as
    `head.0`; or a backbone.
    """
    kept, unused = _encoder(tensors)
    kept = stack(kept, [f".{letter}_proj.weight" for letter in "qkv"], ".qkv.weight")
    return Found("AdaptFormer", rename(kept, BACKBONE + _HEAD + ADAPTERS + _ADAPTFORMER + HEAD), unused)


def to_videomae(tensors: Tensors) -> Tensors:
    """Our names -> those of a fine-tuned file, or for a backbone alone those of the encoder in a pre-training file."""
    prefix = "encoder." if all(name.startswith("backbone.") for name in tensors) else ""
    return {prefix + name: tensor for name, tensor in rename(tensors, inverse(BACKBONE + _HEAD)).items()}


def to_pretraining(tensors: Tensors) -> Tensors:
    """Our names of a whole autoencoder -> those of a pre-training file."""
    encoder = [(ours, f"encoder.{theirs}") for theirs, ours in BACKBONE]
    decoder = [(ours.replace("backbone.", "decoder."), f"decoder.{theirs}") for theirs, ours in BACKBONE]
    return rename(tensors, [*encoder, *decoder, ("norm.", "encoder.norm.")])


def _encoder(tensors: Tensors) -> tuple[Tensors, tuple[str, ...]]:
    """Split off what only pre-training uses; return the rest without the prefix `encoder.`, and what was split off."""
    kept, unused = drop(tensors, r"decoder|encoder_to_decoder|mask_token|encoder\.norm")
    bare = {name.removeprefix("encoder."): tensor for name, tensor in kept.items()}
    if len(bare) < len(kept):
        raise CheckpointError("some tensors are in the file twice, with and without the prefix `encoder.`")
    return bare, unused
