"""CLIP's image encoder, of `transformers`, and as OpenAI's and OpenCLIP's code names it; the text is left out."""

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._image import ImageModel
from videoadapt.weights.formats._names import drop, rename
from videoadapt.weights.formats._vit import fused
from videoadapt.weights.normalisation import CLIP

TOWER = (
    ("embeddings.patch_embedding.", "patch_embed.proj."),
    ("embeddings.position_embedding.weight", "pos_embed"),
    ("encoder.layers.#.layer_norm", "blocks.#.norm"),
    ("encoder.layers.#.self_attn.out_proj.", "blocks.#.attn.proj."),
    ("encoder.layers.#.self_attn.", "blocks.#.attn."),
    ("encoder.layers.#.mlp.", "blocks.#.mlp."),
    ("post_layernorm.", "norm."),
)
_RULES = (("embeddings.class_embedding", "cls_token"), ("pre_layrnorm.", "norm_pre."))  # as it is spelled there
_OPENAI = (
    ("conv1.", "patch_embed.proj."),
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    ("transformer.resblocks.#.ln_", "blocks.#.norm"),
    ("transformer.resblocks.#.attn.in_proj_", "blocks.#.attn.qkv."),
    ("transformer.resblocks.#.attn.out_proj.", "blocks.#.attn.proj."),
    ("transformer.resblocks.#.mlp.c_fc.", "blocks.#.mlp.fc1."),
    ("transformer.resblocks.#.mlp.c_proj.", "blocks.#.mlp.fc2."),
)


def from_clip(tensors: Tensors) -> ImageModel:
    """The projection to the space of texts stands behind the feature, and is left out."""
    kept, unused = drop(tensors, r"visual_projection|embeddings\.position_ids")
    kept = fused(rename(kept, _RULES + TOWER), "q_proj", "k_proj", "v_proj")
    return ImageModel("Hugging Face CLIP", _with_batch(kept), unused)


def from_openai(tensors: Tensors, by_openai: bool) -> ImageModel:
    """`visual.*` of a CLIP, with the prefix taken off. OpenAI's own compute QuickGELU; OpenCLIP's files do not say.

    Raises CheckpointError for CLIP's ResNets.
    """
    if "class_embedding" not in tensors:
        raise CheckpointError("the image encoder of this CLIP is no ViT; its ResNets are not read")
    kept, unused = drop(tensors, r"proj$")
    kept = _with_batch(rename(kept, _OPENAI))
    return (
        ImageModel("OpenAI CLIP", kept, unused, "quick_gelu", CLIP)
        if by_openai
        else ImageModel("OpenCLIP", kept, unused)
    )


def _with_batch(tensors: Tensors) -> Tensors:
    """Class token (D,) and positions (N, D) as timm keeps them, (1, 1, D) and (1, N, D)."""
    wanted = {"cls_token": (1, 1, -1), "pos_embed": (1, -1, tensors["pos_embed"].shape[-1])}
    return tensors | {name: tensors[name].reshape(shape) for name, shape in wanted.items() if name in tensors}
