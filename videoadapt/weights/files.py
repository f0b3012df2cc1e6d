"""Tensors on disk: safetensors and torch files, alone or as a Hugging Face folder, read without running anything in them.

Every error starts with the path, so that whoever asked can put its own name in front.
"""

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from videoadapt.errors import CheckpointError, counted
from videoadapt.paths import exists, is_file, is_folder
from videoadapt.weights.names import here
from videoadapt.weights.parts import Tensors, model_state, split_part
from videoadapt.weights.reading import load

ADAPTER_FORMAT = "videoadapt adapter"  # in the metadata of what a finished run leaves

IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)


def weights_path(location: str) -> Path:
    """The file or folder that `location` names: a path, without the `#part` behind it, or `package:NAME` inside videoadapt.

    Of a name (`hf:`, `timm:`, `https:`) what was downloaded, or where nothing was a path that is not there.
    """
    if location.startswith("package:"):
        return Path(__file__).parents[1] / "assets" / location.removeprefix("package:")
    return split_part(Path(here(location)))[0]


def check_weights(argument: str, location: str | Path) -> None:
    """Raise CheckpointError unless what a program gave for `argument`, as `weights_path` reads it, is there."""
    if not exists(weights_path(str(location))):
        raise CheckpointError(f"{argument} = {str(location)!r}: no such file or folder of weights")


class Content(NamedTuple):
    """What a weight file holds: tensors, its config.json or metadata, the part still to be found in their names, and notes."""

    tensors: Tensors
    config: dict[str, Any]
    part: str | None = None
    notes: tuple[str, ...] = ()


def read_tensors(path: Path) -> Content:
    """Read a weight file, or a Hugging Face folder in one piece or in shards; `#part` behind its name chooses one of several.

    In place of a config.json, a file has what `write_tensors` calls metadata, or {}. Raises CheckpointError when something
    is missing, damaged, or could run code.
    """
    path, part = split_part(path)
    if not is_folder(path):
        content, notes = load(path)
        metadata = _metadata(content, path)
        _refuse_a_run(content, metadata, path)
        state, part, chosen = model_state(content, path, part)
        return Content(state, metadata, part, notes + chosen)
    if is_file(path / "config.yaml") and is_folder(path / "checkpoints"):
        raise CheckpointError(_of_a_run(path, "the folder of a run", f"--run {quote(str(path))}"))
    found = next((path / name for name in IN_A_FOLDER if is_file(path / name)), None)
    if found is None:
        raise CheckpointError(f"{path}: no weight file in this folder; looked for {', '.join(IN_A_FOLDER)}")
    tensors = _read_shards(found) if found.suffix == ".json" else _read_alone(found)
    config = path / ("open_clip_config.json" if found.name.startswith("open_clip") else "config.json")
    beside = path / "preprocessor_config.json"  # of `transformers`: what is done to pixels
    told = {"preprocessor": _read_json(beside)} if is_file(beside) else {}
    return Content(tensors, {**(_read_json(config) if is_file(config) else {}), **told}, part)


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
        held = _read_alone(shard)
        wrong = sorted(held.keys() ^ {key for key, file in places.items() if file == name})
        if wrong:
            raise CheckpointError(
                f"{shard}: {counted(len(wrong), 'tensor is', 'tensors are')} not as {index.name} says, such as {wrong[0]}"
            )
        tensors |= held
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bytes that are no text, too
        raise CheckpointError(f"{path}: cannot be read as json ({error}); download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a json object, found {type(content).__name__}")
    return content


def _read_alone(path: Path) -> Tensors:
    """The tensors of one file of a folder."""
    return model_state(load(path)[0], path)[0]


def _refuse_a_run(content: Any, metadata: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError for a checkpoint or an adapter file of one of our runs."""
    if metadata.get("format") == ADAPTER_FORMAT:
        raise CheckpointError(_of_a_run(path, "an adapter file", f"--adapter {quote(str(path))}"))
    if isinstance(content, dict) and content.keys() >= {"version", "model", "ema"}:
        run = path.absolute().parent.parent
        raise CheckpointError(_of_a_run(path, "a checkpoint of a run", f"--run {quote(str(run))}"))


def _of_a_run(path: Path, kind: str, option: str) -> str:
    """Why what a run leaves is no weight file, and what it is for; `option` gives it to the demo."""
    return (
        f"{path}: is {kind}, which holds what was trained beside a backbone and not the backbone; a training takes it as "
        f"model.weights, the demo with {option}; here, name the weights that the run began with"
    )
