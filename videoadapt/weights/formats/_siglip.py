"""SigLIP and SigLIP 2 of `transformers`: the image encoder, with the attention that pools its tokens."""

from math import isqrt

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._clip import TOWER
from videoadapt.weights.formats._image import ImageModel
from videoadapt.weights.formats._names import drop, rename
from videoadapt.weights.formats._vit import fused

_POOL = (
    ("head.probe", "attn_pool.latent"),
    ("head.attention.out_proj.", "attn_pool.proj."),
    ("head.layernorm.", "attn_pool.norm."),
    ("head.mlp.", "attn_pool.mlp."),
)


def from_siglip(tensors: Tensors) -> ImageModel:
    """A learned query pools the tokens; timm keeps its weight apart from those of keys and values."""
    kept, unused = drop(tensors, r"embeddings\.position_ids")
    kept = fused(rename(kept, TOWER + _POOL), "q_proj", "k_proj", "v_proj")
    for kind in ("weight", "bias"):
        joined = kept.pop(f"head.attention.in_proj_{kind}", None)
        if joined is not None:
            width = len(joined) // 3
            kept |= {f"attn_pool.q.{kind}": joined[:width].clone(), f"attn_pool.kv.{kind}": joined[width:].clone()}
    kept["pos_embed"] = kept["pos_embed"][None]
    kernel = kept["patch_embed.proj.weight"]
    if kernel.ndim == 2:  # the models for images of any shape: a patch's values in the order row, column, channel
        side = isqrt(kernel.shape[1] // 3)
        if 3 * side * side != kernel.shape[1]:
            raise CheckpointError(f"its patch kernel {tuple(kernel.shape)} is not that of square patches of 3 channels")
        kept["patch_embed.proj.weight"] = kernel.unflatten(1, (side, side, 3)).permute(0, 3, 1, 2).contiguous()
    return ImageModel("Hugging Face SigLIP", kept, unused)
