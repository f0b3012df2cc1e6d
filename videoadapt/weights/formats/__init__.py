"""Formats of weights, one file each: told apart by their keys, never by a file's name, and brought under our names."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videoadapt.errors import CheckpointError
from videoadapt.paths import exists
from videoadapt.weights.files import Tensors, read_tensors, weights_path
from videoadapt.weights.formats._huggingface import from_huggingface, huggingface_config, to_huggingface
from videoadapt.weights.formats._image import Inflation, from_image, inflate_kernel
from videoadapt.weights.formats._names import Found, Weights
from videoadapt.weights.formats._prefixes import without_prefix
from videoadapt.weights.formats._videomae import (
    from_adaptformer,
    from_fine_tuned,
    from_pretraining,
    to_pretraining,
    to_videomae,
)
from videoadapt.weights.parts import split_part

__all__ = [
    "Inflation",
    "Weights",
    "huggingface_config",
    "inflate_kernel",
    "plain_name",
    "read_any",
    "read_weights",
    "to_huggingface",
    "to_pretraining",
    "to_videomae",
]


def read_weights(location: str, obtain: str = "") -> Weights:
    """Read a file or folder of weights, or `package:NAME` for a file inside videoadapt; `obtain`: where to get it.

    Raises CheckpointError when it is missing, damaged, names code to run, or has keys of no known format.
    """
    path = weights_path(location)
    if not exists(path):
        hint = obtain or "give the path of a weight file or folder, or nothing (null) to start from random weights"
        raise CheckpointError(f"{path}: no such file; {hint}")
    return read_any(path if location.startswith("package:") else Path(location))


def read_any(path: Path) -> Weights:
    """Read a weight file or folder of any known format, `#part` behind its name for one of several models in it.

    Raises CheckpointError, which starts with the path.
    """
    content = read_tensors(path)
    path, config = split_part(path)[0], content.config
    try:
        bare = without_prefix(content.tensors, path, content.part)
        found = _recognised(bare.tensors, config)
        notes = (*content.notes, *bare.notes)
        return Weights(path, found.format, found.tensors, found.unused + bare.unused, notes=notes, **_facts(config))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _recognised(tensors: Tensors, config: Mapping[str, Any]) -> Found:
    """Choose the format by the names of its tensors; an image's patch kernel has one dimension less than a video's."""
    kernel = tensors.get("patch_embed.proj.weight")
    if any(name.startswith("backbone.") for name in tensors):
        return _from_ours(tensors)
    if any(re.match(r"(videomae\.)?encoder\.layer\.\d", name) for name in tensors):
        return from_huggingface(tensors)
    if kernel is not None and kernel.ndim == 4:
        return from_image(tensors)
    if any(name.endswith(".q_proj.weight") for name in tensors):
        return from_adaptformer(tensors)
    if any(name.startswith("encoder.blocks.") for name in tensors):
        return from_pretraining(tensors)
    if any(name.startswith("blocks.") for name in tensors):
        return from_fine_tuned(tensors, on_hub="model_config" in config)
    raise CheckpointError(
        f"keys of no known format (the first: {', '.join(list(tensors)[:4])}); known: VideoMAE and VideoMAE V2, "
        "pre-training and fine-tuned, also from Hugging Face; AdaptFormer; image ViTs of timm and MAE; videoadapt"
    )


def _from_ours(tensors: Tensors) -> Found:
    """Backbone files, and state dicts of whole models, where an adapted branch stands under `.branch.`."""
    return Found("videoadapt", {plain_name(name): tensor for name, tensor in tensors.items()})


def plain_name(name: str) -> str:
    """Return the name that a tensor of the backbone has without adapters, which call what they stand around `branch`."""
    return re.sub(r"\.branch(?=\.)", "", name)


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """What a config.json tells and tensors cannot: epsilon and heads (V2 keeps them under `model_config`)."""
    inner = config["model_config"] if isinstance(config.get("model_config"), dict) else config
    activation = inner.get("hidden_act", "gelu")
    if activation != "gelu":
        raise CheckpointError(f"config.json: hidden_act = {activation}; only gelu can be loaded")
    heads = inner.get("num_attention_heads", inner.get("num_heads"))
    return {"eps": inner.get("layer_norm_eps"), "num_heads": heads, "class_names": _class_names(config)}


def _class_names(config: dict[str, Any]) -> tuple[str, ...] | None:
    """The names of a head's classes: an export of ours has a list in json, Hugging Face a number and a name for each."""
    try:
        if isinstance(named := config.get("class_names"), str):
            return tuple(map(str, json.loads(named)))
        if isinstance(named := config.get("id2label"), dict):
            return tuple(str(named[number]) for number in sorted(named, key=int))
    except (ValueError, TypeError):  # somebody else's idea of class names
        return None
    return None
