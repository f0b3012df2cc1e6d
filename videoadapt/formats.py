"""Weight files: read safely, told apart by their keys, their tensors under our names.

Our names are those of a Classifier without adapters (`backbone.*`, `fc_norm.*`, `head.*`); the tensors of adapters have
`.adapter.` in them.
"""

import argparse
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videoadapt.errors import CheckpointError

Tensors = dict[str, Tensor]

_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
# What training checkpoints hold besides tensors, under the names of numpy 1 and 2; other pickled objects are refused.
_ALLOWED: list[Any] = [argparse.Namespace, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8", "bool"))]
_ALLOWED += [(_NUMPY_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


@dataclass(frozen=True)
class Weights:
    """Tensors of one file under our names; `unused` names what the format is known to hold and we have no use for."""

    path: Path
    format: str
    tensors: Tensors
    unused: tuple[str, ...] = ()

    def part(self, *, adapter: bool) -> Tensors:
        """Return the tensors that belong to adapters, or the others."""
        return {name: tensor for name, tensor in self.tensors.items() if (".adapter." in name) == adapter}


def read_weights(location: str, obtain: str = "") -> Weights:
    """Read `model.weights`: a path, or `package:NAME` for a file inside videoadapt; `obtain` says where to get it.

    Raises CheckpointError when the file is missing, damaged, holds Python objects, or has keys of no known format.
    """
    path = weights_path(location)
    tensors = _state_dict(_read_file(path, obtain), path)
    if any(name.startswith("backbone.") for name in tensors):
        return _from_ours(path, tensors)
    if any(name.endswith(".q_proj.weight") for name in tensors):
        return _from_adaptformer(path, tensors)
    if any(name.startswith("encoder.blocks.") for name in tensors):
        return _from_videomae_pretraining(path, tensors)
    if any(name.startswith("blocks.") for name in tensors):
        return _from_videomae_fine_tuned(path, tensors)
    raise CheckpointError(
        f"{path}: keys of no known format (the first: {', '.join(list(tensors)[:4])}); known: VideoMAE pre-training, "
        "VideoMAE fine-tuned, AdaptFormer, videoadapt; change model.weights"
    )


def weights_path(location: str) -> Path:
    """The file that `model.weights` names: a path, or `package:NAME` for a file inside videoadapt."""
    if location.startswith("package:"):
        return Path(__file__).parent / "assets" / location.removeprefix("package:")
    return Path(location)


_VIDEOMAE = {
    r"patch_embed\.proj\.": r"backbone.patch_embed.",
    r"blocks\.(\d+)\.norm1\.": r"backbone.blocks.\1.attn.norm.",
    r"blocks\.(\d+)\.norm2\.": r"backbone.blocks.\1.mlp.norm.",
    r"blocks\.(\d+)\.attn\.([qv]_bias)$": r"backbone.blocks.\1.attn.fn.qkv.\2",
    r"blocks\.(\d+)\.attn\.(qkv|proj)\.": r"backbone.blocks.\1.attn.fn.\2.",
    r"blocks\.(\d+)\.mlp\.(fc1|fc2)\.": r"backbone.blocks.\1.mlp.fn.\2.",
    r"head\.(weight|bias)$": r"head.linear.\1",
}
_ADAPTFORMER = {
    r"blocks\.(\d+)\.(fc1|fc2)\.": r"backbone.blocks.\1.mlp.fn.\2.",
    r"blocks\.(\d+)\.adaptmlp\.(down|up)_proj\.": r"backbone.blocks.\1.mlp.adapter.\2.",
    r"blocks\.(\d+)\.adaptmlp\.scale$": r"backbone.blocks.\1.mlp.adapter.scale",
    r"head\.0\.": r"head.norm.",
    r"head\.1\.": r"head.linear.",
}


def _from_ours(path: Path, tensors: Tensors) -> Weights:
    """Trunk files, and state dicts of whole models, where an adapted branch stands under `.branch.`."""
    return Weights(path, "videoadapt", {name.replace(".branch.", "."): tensor for name, tensor in tensors.items()})


def _from_videomae_pretraining(path: Path, tensors: Tensors) -> Weights:
    """Encoder and decoder; classification takes the mean of the tokens before `encoder.norm`."""
    kept, unused = _encoder(tensors)
    return Weights(path, "VideoMAE pre-training", _rename(kept, _VIDEOMAE), unused)


def _from_videomae_fine_tuned(path: Path, tensors: Tensors) -> Weights:
    """The classifiers of VideoMAE and VideoMAE V2: a trunk, `fc_norm` and a plain `head`."""
    return Weights(path, "VideoMAE fine-tuned", _rename(tensors, _VIDEOMAE))


def _from_adaptformer(path: Path, tensors: Tensors) -> Weights:
    """AdaptFormer's code: q, k, v apart, the MLP flat in the block, `adaptmlp`, BatchNorm as `head.0`; or a trunk."""
    kept, unused = _encoder(tensors)
    for name in [name for name in kept if name.endswith(".q_proj.weight")]:
        parts = [kept.pop(name.replace(".q_proj.", f".{letter}_proj."), None) for letter in "qkv"]
        if any(part is None for part in parts):
            raise CheckpointError(f"{path}: {name} has no k_proj or v_proj beside it; the file is incomplete")
        kept[name.replace(".q_proj.", ".qkv.")] = torch.cat([part for part in parts if part is not None])
    return Weights(path, "AdaptFormer", _rename(kept, _VIDEOMAE | _ADAPTFORMER), unused)


def _encoder(tensors: Tensors) -> tuple[Tensors, tuple[str, ...]]:
    """Split off what only pre-training uses; return the rest without the prefix `encoder.`, and what was split off."""
    matches = {name: re.match(r"decoder|encoder_to_decoder|mask_token|encoder\.norm", name) for name in tensors}
    kept = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if not matches[name]}
    return kept, tuple(dict.fromkeys(match.group() for match in matches.values() if match))


def _rename(tensors: Tensors, rules: dict[str, str]) -> Tensors:
    """Apply the rule that matches the start of a name; a name without a rule stays, and is found unexpected later."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        rule = next((rule for rule in rules if re.match(rule, name)), None)
        renamed[re.sub(rule, rules[rule], name, count=1) if rule else name] = tensor
    return renamed


def _read_file(path: Path, obtain: str) -> Any:
    """Return what the file holds, safetensors and torch told apart by content; nothing in it is executed."""
    if not path.is_file():
        hint = obtain or "give the path of a weight file, or null to start from random weights"
        raise CheckpointError(f"model.weights = {path}: no such file; {hint}")
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        raise CheckpointError(f"model.weights = {path}: the file is empty; copy or download it again")
    try:
        if start[8:] == b"{":  # safetensors: eight bytes of length, then a json object
            return load_file(path)
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        problem = "neither a safetensors nor a torch file"
        if refused:
            problem = (
                f"holds a Python object ({refused[1]}), which could run code; save its state dict of tensors alone"
            )
        raise CheckpointError(f"model.weights = {path}: {problem}") from error
    except (RuntimeError, EOFError, OSError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        message = f"model.weights = {path}: damaged or cut short ({reason}); copy or download it again"
        raise CheckpointError(message) from error


def _state_dict(content: Any, path: Path) -> Tensors:
    """Return the tensors of a checkpoint, which stand under `model` or `module`, or alone."""
    state = content
    if isinstance(content, dict):
        state = next((content[key] for key in ("model", "module") if isinstance(content.get(key), dict)), content)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        held = f"keys {', '.join(map(str, list(state)[:4]))}" if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"model.weights = {path}: no tensors under `model`, `module` or at the top, but {held}")
    return dict(state)
