"""V-JEPA 2 and 2.1: Meta's own files, and what `transformers` saves of V-JEPA 2; the predictor is left out.

Meta's files hold `target_encoder` (2.1's distilled models `ema_encoder`), `encoder` and `predictor`; which is taken is chosen
before (`parts`).
"""

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._names import KEY_BIAS, Found, drop, rename, stack

_BLOCK = "backbone.blocks.#."
_POOL = "backbone.pool.adapter."
_KERNEL = "encoder.embeddings.patch_embeddings.proj."
_META = (
    ("patch_embed.proj.", "backbone.patch_embed."),
    ("blocks.#.norm1.", f"{_BLOCK}attn.norm."),
    ("blocks.#.norm2.", f"{_BLOCK}mlp.norm."),
    ("blocks.#.attn.", f"{_BLOCK}attn.fn."),
    ("blocks.#.mlp.", f"{_BLOCK}mlp.fn."),
    ("norms_block.3.", "backbone.norm."),
    ("norm.", "backbone.norm."),
    ("video_mod_embed", "backbone.modality"),
)
_HUGGINGFACE = (
    (_KERNEL, "backbone.patch_embed."),
    ("encoder.layer.#.norm1.", f"{_BLOCK}attn.norm."),
    ("encoder.layer.#.norm2.", f"{_BLOCK}mlp.norm."),
    ("encoder.layer.#.attention.", f"{_BLOCK}attn.fn."),
    ("encoder.layer.#.mlp.", f"{_BLOCK}mlp.fn."),
    ("encoder.layernorm.", "backbone.norm."),
    ("pooler.query_tokens", f"{_POOL}query"),
    ("pooler.cross_attention_layer.layer_norm1.", f"{_POOL}tokens_norm."),
    ("pooler.cross_attention_layer.layer_norm2.", f"{_POOL}norm."),
    ("pooler.cross_attention_layer.cross_attn.q_proj.", f"{_POOL}attention.q."),
    ("pooler.cross_attention_layer.cross_attn.kv.", f"{_POOL}attention.kv."),
    ("pooler.cross_attention_layer.mlp.", f"{_POOL}mlp."),
    ("pooler.self_attention_layers.#.layer_norm1.", f"{_POOL}layers.#.attn.norm."),
    ("pooler.self_attention_layers.#.layer_norm2.", f"{_POOL}layers.#.mlp.norm."),
    ("pooler.self_attention_layers.#.self_attn.qkv.", f"{_POOL}layers.#.attn.fn.qkv."),
    ("pooler.self_attention_layers.#.self_attn.q_proj.bias", f"{_POOL}layers.#.attn.fn.qkv.q_bias"),
    ("pooler.self_attention_layers.#.self_attn.v_proj.bias", f"{_POOL}layers.#.attn.fn.qkv.v_bias"),
    ("pooler.self_attention_layers.#.self_attn.out_proj.", f"{_POOL}layers.#.attn.fn.proj."),
    ("pooler.self_attention_layers.#.mlp.", f"{_POOL}layers.#.mlp.fn."),
    ("classifier.", "head.linear."),
)
_OF_V_JEPA_1 = {8 * 14 * 14: 224, 8 * 24 * 24: 384}  # how many positions its files hold: 16 frames of so many pixels


def is_from_meta(tensors: Tensors) -> bool:
    """Whether these are an encoder's as Meta's code names them: tubelets, biases of keys too, a norm behind all blocks."""
    kernel = tensors.get("patch_embed.proj.weight")
    norms = {"norm.weight", "norms_block.3.weight"} & tensors.keys()
    return kernel is not None and kernel.ndim == 5 and "blocks.0.attn.qkv.bias" in tensors and bool(norms)


def from_meta_vjepa(tensors: Tensors) -> Found:
    """An encoder; what 2.1 has for single images and for the features in between is left out.

    Positions that V-JEPA 2's files hold are not used there either. Raises CheckpointError for V-JEPA's first version, whose
    tensors have the same names, and which adds its positions and turns nothing.
    """
    positions = tensors.get("pos_embed")
    if positions is not None and positions.ndim == 3 and positions.shape[1] in _OF_V_JEPA_1:
        raise CheckpointError(
            f"V-JEPA's first version (its pos_embed is for 16 frames of {_OF_V_JEPA_1[positions.shape[1]]} px), which is not "
            "read; V-JEPA 2 and 2.1 are"
        )
    kept, unused = drop(tensors, r"pos_embed|patch_embed_img|img_mod_embed|norms_block\.[012](?=\.)")
    later = "norms_block.3.weight" in kept
    return Found("V-JEPA 2.1" if later else "V-JEPA 2", rename(kept, _META), unused)


def is_from_transformers(tensors: Tensors) -> bool:
    """Whether `transformers` saved these, of the model alone or of a classifier."""
    return any(f"{prefix}{_KERNEL}weight" in tensors for prefix in ("", "vjepa2."))


def from_transformers_vjepa(tensors: Tensors) -> Found:
    """`VJEPA2Model`, or `VJEPA2ForVideoClassification`, whose pooler is the adapter attentive_probe."""
    tensors = {name.removeprefix("vjepa2."): tensor for name, tensor in tensors.items()}
    kept, unused = drop(tensors, "predictor")
    for kind in ("weight", "bias"):
        kept = stack(
            kept, [f".attention.{part}.{kind}" for part in ("query", "key", "value")], f".attention.qkv.{kind}"
        )
        kept = stack(kept, [f".cross_attn.{part}_proj.{kind}" for part in "kv"], f".cross_attn.kv.{kind}")
    kept = stack(kept, [f".self_attn.{part}_proj.weight" for part in "qkv"], ".self_attn.qkv.weight")
    # of the pooler: nothing is turned there
    key_biases = [name for name in kept if name.endswith(".self_attn.k_proj.bias")]
    kept = {name: tensor for name, tensor in kept.items() if name not in key_biases}
    kind = "classifier" if "classifier.weight" in kept else "backbone"
    return Found(f"Hugging Face V-JEPA 2 {kind}", rename(kept, _HUGGINGFACE), unused + (KEY_BIAS,) * bool(key_biases))
