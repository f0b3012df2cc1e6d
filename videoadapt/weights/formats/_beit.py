"""BEiT of `transformers`: positions of pairs of patches in every block, LayerScale, keys without a bias."""

from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._image import ImageModel
from videoadapt.weights.formats._names import drop, rename, stack
from videoadapt.weights.formats._vit import EMBEDDINGS, LAYERS

_SELF = "encoder.layer.#.attention.attention."
_RULES = (
    (f"{_SELF}query.bias", "blocks.#.attn.q_bias"),
    (f"{_SELF}value.bias", "blocks.#.attn.v_bias"),
    (f"{_SELF}relative_position_bias.", "blocks.#.attn."),
    ("encoder.relative_position_bias.", "rel_pos_bias."),
    ("encoder.layer.#.lambda_", "blocks.#.gamma_"),
    ("pooler.layernorm.", "fc_norm."),
)


def from_beit(tensors: Tensors) -> ImageModel:
    """The norm behind the mean over patches is timm's `fc_norm`."""
    kept, unused = drop(tensors, r"embeddings\.mask_token|lm_head|.*relative_position_index")
    kept = rename(kept, EMBEDDINGS + _RULES + LAYERS)
    parts = [f".attn.{part}.weight" for part in ("query", "key", "value")]
    return ImageModel("Hugging Face BEiT", stack(kept, parts, ".attn.qkv.weight"), unused)
