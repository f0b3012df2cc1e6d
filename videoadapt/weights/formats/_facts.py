"""What a config.json tells and tensors cannot."""

import json
from collections.abc import Mapping
from typing import Any

from videoadapt.errors import CheckpointError
from videoadapt.weights.normalisation import Normalisation, said_in

# Activations as transformers calls them; each is part of the function, and the ones of one row compute the same.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
}


def facts(
    config: Mapping[str, Any], activation: str | None, normalisation: Normalisation | None = None
) -> dict[str, Any]:
    """Epsilon, heads, activation, normalisation, timm's name of the model and class names, as fields of Weights, where said.

    `activation` and `normalisation`: the format's own, where the file is silent. Raises CheckpointError for an activation that
    no backbone here has.
    """
    inner = next(
        (config[key] for key in ("model_config", "vision_config") if isinstance(config.get(key), dict)), config
    )
    heads = inner.get("num_attention_heads", inner.get("num_heads"))
    named = inner.get("hidden_act", _arguments(config).get("act_layer"))
    if named is not None and named not in _ACTIVATIONS:
        allowed = ", ".join(_ACTIVATIONS)
        raise CheckpointError(f"config.json: hidden_act = {named}; of the activations only {allowed} can be loaded")
    if named is not None:
        activation = _ACTIVATIONS[named]
    if inner.get("use_swiglu_ffn"):
        activation = "silu"
    if isinstance(clip := config.get("model_cfg"), dict):  # OpenCLIP's
        activation = "quick_gelu" if clip.get("quick_gelu") else "gelu"
    return {
        "eps": inner.get("layer_norm_eps"),
        "num_heads": heads,
        "activation": activation,
        "normalisation": said_in(config) or normalisation,
        "architecture": _architecture(config),
        "class_names": _class_names(config),
    }


def _arguments(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What timm's model was made with besides its name."""
    given = config.get("model_args")
    return given if isinstance(given, dict) else {}


def _architecture(config: Mapping[str, Any]) -> str | None:
    """Timm's name of the model, where timm wrote the file."""
    name = config.get("architecture")
    return name if isinstance(name, str) else None


def _class_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of a head's classes: an export of ours has a list in json, Hugging Face a number and a name for each."""
    try:
        if isinstance(named := config.get("class_names"), str):
            return tuple(map(str, json.loads(named)))
        if isinstance(named := config.get("id2label"), dict):
            return tuple(str(named[number]) for number in sorted(named, key=int))
    except (ValueError, TypeError):  # somebody else's idea of class names
        return None
    return None
