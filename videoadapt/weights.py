"""Weight files -> our model, strictly: published formats are told apart by their keys and mapped to our names.

Our names are those of a Classifier without adapters (`backbone.*`, `fc_norm.*`, `head.*`); the tensors of adapters have
`.adapter.` in them. Every tensor of a file is loaded, or reported as not used, or an error.
"""

import argparse
import logging
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videoadapt.errors import CheckpointError

log = logging.getLogger("videoadapt")

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


@dataclass(frozen=True)
class LoadReport:
    """How many tensors were loaded, and what of the file or of the model was not served by them."""

    path: Path
    format: str
    loaded: int
    unused: tuple[str, ...]
    replaced: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        said = {"not used": self.unused, "replaced by new ones": self.replaced, "newly initialised": self.new}
        parts = [f"{title}: {', '.join(names)}" for title, names in said.items() if names]
        return "; ".join([f"{self.path}: {self.format}, {self.loaded} tensors loaded", *parts])


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


def load_trunk(model: nn.Module, weights: Weights) -> LoadReport:
    """Fill a Classifier that has no adapter yet. A head for other classes is replaced, an absent part is new.

    Raises CheckpointError when any other tensor is missing, unexpected, of another shape or not finite.
    """
    expected, found = model.state_dict(), weights.part(adapter=False)
    replaced, new = [], []
    ours, theirs = expected.get("head.linear.weight"), found.get("head.linear.weight")
    if ours is not None and theirs is not None and len(ours) != len(theirs):
        replaced.append(f"head ({len(theirs)} classes in the file, {len(ours)} here)")
        found = {name: tensor for name, tensor in found.items() if not name.startswith("head.")}
    for part in ("fc_norm", "head"):
        if not any(name.startswith(f"{part}.") for name in found):
            missing = [name for name in expected if name.startswith(f"{part}.")]
            expected = {name: tensor for name, tensor in expected.items() if name not in missing}
            new += [part] if missing and not (part == "head" and replaced) else []
    _check(expected, found, weights)
    model.load_state_dict(found, strict=False)
    report = LoadReport(weights.path, weights.format, len(found), weights.unused, tuple(replaced), tuple(new))
    log.info("%s", report)
    return report


def load_adapter(model: nn.Module, weights: Weights) -> int:
    """Fill a Classifier's adapters from the file if it holds any; return how many tensors that were.

    Raises CheckpointError when they are not exactly those of the model.
    """
    found = weights.part(adapter=True)
    if found:
        _check({name: t for name, t in model.state_dict().items() if ".adapter." in name}, found, weights)
        model.load_state_dict(found, strict=False)
        log.info("%s: %d adapter tensors loaded", weights.path, len(found))
    return len(found)


def save_trunk(backbone: nn.Module, path: Path, metadata: Mapping[str, str], *, half: bool = False) -> None:
    """Write the backbone's tensors in our format (safetensors, float16 if `half`); the file appears when whole.

    Raises CheckpointError when the backbone holds an adapter, or values that are not finite (in float16).
    """
    tensors = {f"backbone.{name}": t.detach().cpu().contiguous() for name, t in backbone.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    bad = [name for name, tensor in tensors.items() if ".adapter." in name or not tensor.isfinite().all()]
    if bad:
        raise CheckpointError(
            f"{path}: not written: {', '.join(_grouped(bad))}: not finite, or not part of a plain trunk"
        )
    partial = path.with_name(f".{path.name}.partial")
    save_file(tensors, partial, metadata={"format": "videoadapt", **metadata})
    partial.replace(path)


# ---- formats: from the names on disk to ours -------------------------------------------------------------------------

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


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check(expected: Tensors, found: Tensors, weights: Weights) -> None:
    """Raise CheckpointError, in groups and with likely causes, unless names and shapes agree and values are finite."""
    shapes = {
        name: f"{name}, {tuple(found[name].shape)} in the file, {tuple(expected[name].shape)} in the model"
        for name in found
        if name in expected and found[name].shape != expected[name].shape
    }
    groups = {
        "missing in the file": [name for name in expected if name not in found],
        "unexpected in the file": [name for name in found if name not in expected],
        "of another shape": list(shapes.values()),
        "not finite": [name for name in found if not found[name].isfinite().all()],
    }
    lines = [f"{title}: {line}" for title, names in groups.items() for line in _grouped(names)]
    if lines:
        lines += [f"likely cause: {cause}" for cause in _causes(expected, found)]
        title = f"{weights.path} ({weights.format}): does not fit the model (model.weights)"
        raise CheckpointError("\n  ".join([title, *lines]))


def _grouped(names: list[str]) -> list[str]:
    """Return one line for all names that differ only in the number of the block, in order of first appearance."""
    counts: dict[str, int] = {}
    for name in names:
        pattern = re.sub(r"\bblocks\.\d+\.", "blocks.*.", name)
        counts[pattern] = counts.get(pattern, 0) + 1
    return [pattern if count == 1 else f"{pattern} ({count} tensors)" for pattern, count in counts.items()]


def _causes(expected: Tensors, found: Tensors) -> list[str]:
    ours, theirs = _geometry(expected), _geometry(found)
    causes = [
        f"{key} = {theirs[key]} in the file, {ours[key]} in the model: change model.backbone.size or {key}"
        for key in ours
        if key in theirs and theirs[key] != ours[key]
    ]
    ours_norm, theirs_norm = (any(name.startswith("head.norm.") for name in names) for names in (expected, found))
    if ours_norm != theirs_norm and any(name.startswith("head.") for name in expected):
        causes.append(f"BatchNorm in only one of the two heads: set model.head.batch_norm: {str(theirs_norm).lower()}")
    if any(".adapter." in name for name in found):
        causes.append("the file's adapters are of another kind or size: set model.adapter as where they were trained")
    return causes


def _geometry(tensors: Tensors) -> dict[str, int]:
    """Dimensions of a vit read off its tensors, under the names of its arguments."""
    geometry = {}
    embed = tensors.get("backbone.patch_embed.weight")
    if embed is not None and embed.ndim == 5:
        geometry = {"width": embed.shape[0], "tubelet_frames": embed.shape[2], "patch_px": embed.shape[4]}
    blocks = [int(match.group(1)) for name in tensors if (match := re.match(r"backbone\.blocks\.(\d+)\.", name))]
    return geometry | ({"depth": max(blocks) + 1} if blocks else {})


# ---- files -----------------------------------------------------------------------------------------------------------


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
