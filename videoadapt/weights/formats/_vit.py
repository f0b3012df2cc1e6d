"""ViT and ViT-MAE of `transformers`: timm's ViT under other names, with queries, keys and values apart."""

from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._image import ImageModel
from videoadapt.weights.formats._names import drop, rename, stack

EMBEDDINGS = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
)
_LAYER = "encoder.layer.#."
LAYERS = (
    (f"{_LAYER}layernorm_before.", "blocks.#.norm1."),
    (f"{_LAYER}layernorm_after.", "blocks.#.norm2."),
    (f"{_LAYER}attention.attention.", "blocks.#.attn."),
    (f"{_LAYER}attention.output.dense.", "blocks.#.attn.proj."),
    (f"{_LAYER}intermediate.dense.", "blocks.#.mlp.fc1."),
    (f"{_LAYER}output.dense.", "blocks.#.mlp.fc2."),
    ("layernorm.", "norm."),
)


def from_vit(tensors: Tensors) -> ImageModel:
    """The pooler behind the class token, which only ViTModel has, and MAE's decoder are left out."""
    kept, unused = drop(tensors, r"pooler|decoder|embeddings\.mask_token")
    kept = fused(rename(kept, EMBEDDINGS + LAYERS), "query", "key", "value")
    return ImageModel("Hugging Face ViT", kept, unused)


def fused(tensors: Tensors, *parts: str) -> Tensors:
    """Queries, keys and values in one `attn.qkv`, weights and, where there are any, biases."""
    for kind in ("weight", "bias"):
        tensors = stack(tensors, [f".attn.{part}.{kind}" for part in parts], f".attn.qkv.{kind}")
    return tensors
