"""Tensors on disk: safetensors and torch files, alone or as a Hugging Face folder, read without running anything in them.

Every error starts with the path, so that whoever asked can put its own name in front.
"""

import argparse
import hashlib
import json
import os
import pickle
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from videoadapt.errors import CheckpointError
from videoadapt.paths import exists, is_file, is_folder, why_unreadable

Tensors = dict[str, Tensor]

_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
# What training checkpoints hold besides tensors, under the names of numpy 1 and 2; other pickled objects are refused.
_ALLOWED: list[Any] = [argparse.Namespace, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8", "bool"))]
_ALLOWED += [(_NUMPY_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]

# What the two readers raise on bytes that were cut or changed (found by changing bytes at random).
_DAMAGED: tuple[type[Exception], ...] = (
    AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SafetensorError, TypeError, ValueError,
    struct.error,
)  # fmt: skip

ADAPTER_FORMAT = "videoadapt adapter"  # in the metadata of what a finished run leaves
_PLACES = ("model", "module", "state_dict", "model_state_dict", "model_state")
_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile

_IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def weights_path(location: str) -> Path:
    """The file or folder that `location` names: a path, or `package:NAME` for a file inside videoadapt."""
    if location.startswith("package:"):
        return Path(__file__).parents[1] / "assets" / location.removeprefix("package:")
    return Path(location)


def check_weights(argument: str, location: str | Path) -> None:
    """Raise CheckpointError unless what a program gave for `argument`, as `weights_path` reads it, is there."""
    if not exists(weights_path(str(location))):
        raise CheckpointError(f"{argument} = {str(location)!r}: no such file or folder of weights")


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors of a weight file, or of a Hugging Face folder, in one piece or in shards, and its config.json.

    In place of a config, a file has what `write_tensors` calls metadata, or {}. Raises CheckpointError when something is
    missing, damaged, or could run code.
    """
    if not is_folder(path):
        content = _load(path)
        return _without_prefix(_state_dict(content, path)), _metadata(content, path)
    if is_file(path / "config.yaml") and is_folder(path / "checkpoints"):
        raise CheckpointError(_of_a_run(path, "the folder of a run", f"--run {quote(str(path))}"))
    found = next((path / name for name in _IN_A_FOLDER if is_file(path / name)), None)
    if found is None:
        raise CheckpointError(f"{path}: no weight file in this folder; looked for {', '.join(_IN_A_FOLDER)}")
    tensors = _read_shards(found) if found.suffix == ".json" else _state_dict(_load(found), found)
    config = path / "config.json"
    return _without_prefix(tensors), _read_json(config) if is_file(config) else {}


def write_tensors(path: Path, tensors: Tensors, metadata: Mapping[str, str], *, as_torch: bool = False) -> None:
    """Write safetensors, or a torch file `{'model': tensors}`, with `'metadata'` beside it where there is any.

    Raises OSError where the disk is full.
    """
    if as_torch:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_torch({"model": whole, **({"metadata": dict(metadata)} if metadata else {})}, path)
    else:
        path.write_bytes(safetensors_bytes(tensors, metadata))


def safetensors_bytes(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    """The content of a safetensors file, the same bytes for the same values.

    safetensors 0.8 writes metadata in an order of chance, and hides the operating system's error where a disk is full: so
    it writes no file for us, and its header is sorted here.
    """
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(metadata))
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(dict(sorted(header.items())), ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors behind it stay aligned
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def save_torch(value: Any, path: Path) -> None:
    """`torch.save`, but a full disk raises the operating system's OSError, which torch hides behind one of its own."""
    with os_error_shown(path), path.open("wb") as file:  # given a path, torch loses it
        torch.save(value, file)


@contextmanager
def os_error_shown(path: Path) -> Iterator[None]:
    """Raise the OSError that torch or safetensors, writing `path` in the block, hides behind an error of its own."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        hidden = error.__context__
        while hidden is not None and not isinstance(hidden, OSError):  # torch fails again while it closes the file
            hidden = hidden.__context__
        if hidden is None and (said := re.search(r"\(os error (\d+)\)", str(error))):
            hidden = OSError(int(said[1]), os.strerror(int(said[1])), str(path))
        if hidden is None:
            raise
        raise hidden from None


def checksum(tensors: Tensors) -> str:
    """Return the sha256 over name, type, shape and bytes of every tensor, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _metadata(content: Any, path: Path) -> dict[str, Any]:
    """The metadata of a file whose content was read; {} without any."""
    if isinstance(content, dict) and isinstance(content.get("metadata"), dict):
        return dict(content["metadata"])
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError:  # a torch file
        return {}


def _read_shards(index: Path) -> Tensors:
    """Read every file that an index names; each needs to hold exactly the tensors that the index expects there."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(Path(str(name)).name == name for name in places.values()):
        raise CheckpointError(f"{index}: holds no `weight_map` of tensors to files beside it; download it again")
    tensors: Tensors = {}
    for name in sorted(set(places.values())):
        shard = index.with_name(name)
        if not is_file(shard):
            raise CheckpointError(f"{shard}: no such file, but {index.name} names it; download it too")
        held = _state_dict(_load(shard), shard)
        wrong = sorted(held.keys() ^ {key for key, file in places.items() if file == name})
        if wrong:
            raise CheckpointError(f"{shard}: {len(wrong)} tensors are not as {index.name} says, such as {wrong[0]}")
        tensors |= held
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bytes that are no text, too
        raise CheckpointError(f"{path}: cannot be read as json ({error}); download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a json object, found {type(content).__name__}")
    return content


def _load(path: Path) -> Any:
    """Return what a file holds, safetensors and torch told apart by content; nothing in it is executed."""
    if reason := why_unreadable(path):  # opening a pipe would wait for its other end
        raise CheckpointError(f"{path}: {reason}")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start == b"version h":
            raise CheckpointError(f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull` in its folder")
        if start[8:] == b"{":  # safetensors: eight bytes of length, then a json object
            with safe_open(path, framework="pt") as opened:
                if (opened.metadata() or {}).get("format") == ADAPTER_FORMAT:
                    raise CheckpointError(_of_a_run(path, "an adapter file", f"--adapter {quote(str(path))}"))
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
        raise CheckpointError(f"{path}: {problem}") from error
    except _DAMAGED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: damaged or cut short ({reason}); copy or download it again") from error


def _state_dict(content: Any, path: Path) -> Tensors:
    """Return the tensors of a checkpoint, which stand under one of _PLACES, or alone."""
    state = content
    if isinstance(content, dict):
        if content.keys() >= {"version", "model", "ema"}:
            run = path.absolute().parent.parent
            raise CheckpointError(_of_a_run(path, "a checkpoint of a run", f"--run {quote(str(run))}"))
        state = next((content[key] for key in _PLACES if isinstance(content.get(key), dict)), content)
    is_state = isinstance(state, dict) and all(isinstance(k, str) and isinstance(t, Tensor) for k, t in state.items())
    if not is_state or not state:
        held = f"keys {', '.join(map(str, list(state)[:4]))}" if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(
            f"{path}: no tensors under {', '.join(f'`{key}`' for key in _PLACES)} or at the top, but {held}"
        )
    return dict(state)


def _without_prefix(tensors: Tensors) -> Tensors:
    """The tensors without what wrappers of the whole model put before all names."""
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            return _without_prefix({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def _of_a_run(path: Path, kind: str, option: str) -> str:
    """Why what a run leaves is no weight file, and what it is for; `option` gives it to the demo."""
    return (
        f"{path}: is {kind}, which holds what was trained beside a backbone and not the backbone; a training takes it as "
        f"model.weights, the demo with {option}; here, name the weights that the run began with"
    )
