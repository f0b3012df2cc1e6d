"""What a run saves: the trainable tensors, buffers and state of the loop; written atomically, loaded safely."""

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoadapt.errors import CheckpointError, ConfigError

VERSION = 1
# Keys of a config whose change does not alter what an update computes, so a run may go on with other values.
FREE_KEYS = (
    "output", "device", "test.", "train.enable", "train.checkpoint_every_steps", "data.workers", "data.root", "data.test",
    "data.obtain", "model.obtain",
)  # fmt: skip


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Trainable parameters and all persistent buffers: with the frozen trunk they are the whole model."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name not in frozen}


def load_trainable_state(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Put saved tensors back. Raises CheckpointError unless names and shapes agree exactly."""
    own = trainable_state(model)
    problems = [f"missing {name}" for name in own.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - own.keys()]
    problems += [
        f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if problems:
        raise CheckpointError(f"{path}: does not fit this model: " + "; ".join(sorted(problems)))
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place: a reader sees the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain Python values) atomically."""
    write_atomically(path, lambda partial: torch.save({"version": VERSION, **state}, partial))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a run's checkpoint onto the CPU, `weights_only`. Raises CheckpointError for any other file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise CheckpointError(f"{path}: not a checkpoint of a videoadapt run (version {VERSION})")
    return state


def check_same_config(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raise ConfigError listing every key that differs between two resolved configs and alters what an update computes."""
    changed = list(_differences(before, now, ""))
    if changed:
        lines = [f"    {key}: {old!r} there, {new!r} here" for key, old, new in changed]
        raise ConfigError(
            [f"{path}: was trained with other values; set them back, or choose another `output`:", *lines]
        )


def _differences(before: Any, now: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{prefix}.{key}" if prefix else key)
    elif before != now and not any(prefix == key or (key[-1] == "." and prefix.startswith(key)) for key in FREE_KEYS):
        yield prefix, before, now
