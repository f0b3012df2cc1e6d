"""VideoMAE as Hugging Face's `transformers` stores it: the files on the hub, and those that its later versions write.

q, k, v stand apart; their biases are `q_bias` and `v_bias` on the hub, `query.bias` and `value.bias` later, with a
`key.bias` from some versions: it adds one number to all scores of a query, which softmax ignores, so it is left out.
"""

from typing import Any

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.formats._names import KEY_BIAS, Found, drop, inverse, rename, stack

_LAYER, _BLOCK = "videomae.encoder.layer.#.", "backbone.blocks.#."
_SELF = "attention.attention."
_RULES = (
    ("videomae.embeddings.patch_embeddings.projection.", "backbone.patch_embed."),
    (f"{_LAYER}layernorm_before.", f"{_BLOCK}attn.norm."),
    (f"{_LAYER}layernorm_after.", f"{_BLOCK}mlp.norm."),
    (f"{_LAYER}{_SELF}q_bias", f"{_BLOCK}attn.fn.qkv.q_bias"),
    (f"{_LAYER}{_SELF}v_bias", f"{_BLOCK}attn.fn.qkv.v_bias"),
    (f"{_LAYER}{_SELF}qkv.weight", f"{_BLOCK}attn.fn.qkv.weight"),
    (f"{_LAYER}attention.output.dense.", f"{_BLOCK}attn.fn.proj."),
    (f"{_LAYER}intermediate.dense.", f"{_BLOCK}mlp.fn.fc1."),
    (f"{_LAYER}output.dense.", f"{_BLOCK}mlp.fn.fc2."),
    ("classifier.", "head.linear."),
)
_LATER = (
    (f"{_LAYER}{_SELF}query.bias", f"{_LAYER}{_SELF}q_bias"),
    (f"{_LAYER}{_SELF}value.bias", f"{_LAYER}{_SELF}v_bias"),
)
_QKV = [f".{part}.weight" for part in ("query", "key", "value")]


def from_huggingface(tensors: Tensors) -> Found:
    """`VideoMAEForPreTraining`, `VideoMAEForVideoClassification`, or `VideoMAEModel` alone, which has no prefix.

    Raises CheckpointError for a classifier that reads the first token.
    """
    tensors = {
        f"videomae.{name}" if name.startswith(("embeddings.", "encoder.layer.", "layernorm.")) else name: tensor
        for name, tensor in tensors.items()
    }
    kept, unused = drop(tensors, r"decoder|encoder_to_decoder|mask_token|videomae\.layernorm")
    if "classifier.weight" in kept and "fc_norm.weight" not in kept:
        raise CheckpointError(
            "its classifier reads the first token (use_mean_pooling: false), and ours the mean of all"
        )
    biases = [name for name in kept if name.endswith(f".{_SELF}key.bias")]
    for name in biases:
        del kept[name]
    kept = stack(rename(kept, _LATER), _QKV, ".qkv.weight")
    kind = "fine-tuned" if "classifier.weight" in kept else "pre-training" if "decoder" in unused else "backbone"
    return Found(f"Hugging Face VideoMAE {kind}", rename(kept, _RULES), unused + (KEY_BIAS,) * bool(biases))


def to_huggingface(tensors: Tensors) -> Tensors:
    """Our names -> the layout of the files on the hub, which all versions of `transformers` from 5.23 on read as well."""
    split: Tensors = {}
    for name, tensor in rename(tensors, inverse(_RULES)).items():
        if name.endswith(f"{_SELF}qkv.weight"):
            stem = name.removesuffix(".qkv.weight")
            parts = tensor.chunk(3)
            split |= {stem + part: value.clone() for part, value in zip(_QKV, parts, strict=True)}
        else:
            split[name] = tensor
    return split


def huggingface_config(tensors: Tensors, num_heads: int, eps: float) -> dict[str, Any]:
    """The config.json for tensors under our names, for 16 frames of 224 px as in the published models."""
    width, _, tubelet, _, patch = tensors["backbone.patch_embed.weight"].shape
    head = tensors.get("head.linear.weight")
    config = {
        "architectures": ["VideoMAEModel" if head is None else "VideoMAEForVideoClassification"],
        "model_type": "videomae",
        "hidden_size": width,
        "num_hidden_layers": sum(name.endswith(".attn.norm.weight") for name in tensors),
        "num_attention_heads": num_heads,
        "intermediate_size": len(tensors["backbone.blocks.0.mlp.fn.fc1.weight"]),
        "patch_size": patch,
        "tubelet_size": tubelet,
        "num_frames": 16,
        "image_size": 224,
        "layer_norm_eps": eps,
        "use_mean_pooling": True,
    }
    return config if head is None else config | {"id2label": {str(k): f"LABEL_{k}" for k in range(len(head))}}
