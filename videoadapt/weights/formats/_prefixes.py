"""The model among the names of a state dict, under whatever its trainer put in front: DDP, torch.compile, Lightning, MMAction2.

The patch kernel says where a model begins. What stands in front of its name, stands in front of the whole model's; tensors
outside are its head, or belong to the trainer.
"""

import re
from pathlib import Path
from typing import NamedTuple

from videoadapt.errors import CheckpointError
from videoadapt.weights.formats._names import rename
from videoadapt.weights.parts import Tensors, choose, taken

_KERNEL = re.compile(
    r"((?:\w+\.)*?)(?:patch_embed\.proj(?:ection)?|embeddings\.patch_embedding(?:s\.projection)?|(?<=visual\.)conv1)\.weight"
)
_OWN = re.compile(r"(?:encoder|videomae)\.$")  # VideoMAE's own name of its encoder, beside its decoder or head
_HEAD = re.compile(r"(?:cls_head\.(?:fc_cls|fc|head)|head\.layers\.head|head|classifier|fc)\.(weight|bias)")
_OPENMMLAB = (  # mmcv's PatchEmbed and FFN
    ("patch_embed.projection.", "patch_embed.proj."),
    ("blocks.#.mlp.layers.0.0.", "blocks.#.mlp.fc1."),
    ("blocks.#.mlp.layers.1.", "blocks.#.mlp.fc2."),
)


class Bare(NamedTuple):
    """Tensors under the names of the model's own code, what else was there, and what is said about that."""

    tensors: Tensors
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def without_prefix(tensors: Tensors, path: Path, part: str | None = None) -> Bare:
    """Take the model out of its wrappers; `part` names the one to take where there are several.

    Raises CheckpointError for a part that is not there, and for several models of which none is known to be meant.
    """
    tensors = {re.sub(r"(^|\.)_orig_mod\.", r"\1", name): tensor for name, tensor in tensors.items()}
    while tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    matches = [match[1] for name in tensors if (match := _KERNEL.fullmatch(name))]
    found = dict.fromkeys(prefix for prefix in matches if prefix != "backbone.net.")  # our own backbone of timm
    if part is None and (not found or "" in found):
        return Bare(_renamed(tensors))
    prefix, notes = _chosen(list(found), path, part)
    if _is_own(prefix, tensors):
        prefix = _OWN.sub("", prefix)
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    others = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    return _with_head(inside, others, notes)


def _chosen(prefixes: list[str], path: Path, part: str | None) -> tuple[str, tuple[str, ...]]:
    names = [prefix.removesuffix(".") for prefix in prefixes]
    if part is not None:
        matching = [name for name in names if f"{name}.".startswith(f"{part}.")]
        if len(matching) != 1:
            raise CheckpointError(f"holds no part {part!r}; there are: {', '.join(names) or 'none'}")
        return f"{matching[0]}.", (f"`{part}` of {', '.join(names)}",)
    chosen = choose(names, path)
    beside = [name for name in names if name != chosen]
    return f"{chosen}.", (taken(path, chosen, beside),) if beside else ()


def _is_own(prefix: str, tensors: Tensors) -> bool:
    """Whether the last part of a prefix is the format's own, as in files of pre-training, and no wrapper's."""
    if prefix.endswith("encoder."):
        kernel = tensors.get(f"{prefix}patch_embed.proj.weight")
        is_video = kernel is not None and kernel.ndim == 5
        return is_video and f"{prefix}fc_norm.weight" not in tensors and not any(map(_HEAD.fullmatch, tensors))
    return bool(_OWN.search(prefix))


def _with_head(inside: Tensors, others: Tensors, notes: tuple[str, ...]) -> Bare:
    """The model with the classifier that stands beside it; what else does is not the model's."""
    unused: dict[str, None] = {}
    for name, tensor in others.items():
        match = _HEAD.fullmatch(name)
        if name.startswith("fc_norm."):
            inside[name] = tensor
        elif match and f"head.{match[1]}" not in inside and tensor.ndim in (1, 2):
            inside[f"head.{match[1]}"] = tensor
            notes += (f"head from {name.removesuffix('.weight')}",) if match[1] == "weight" else ()
        else:
            unused[name.split(".")[0]] = None
    return Bare(_renamed(inside), tuple(unused), notes)


def _renamed(tensors: Tensors) -> Tensors:
    return rename(tensors, _OPENMMLAB)
