"""A run's checkpoints: trainable tensors, buffers and the state of training; written atomically, loaded safely."""

import lzma
import pickle
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoadapt.errors import DISK_FULL, CheckpointError
from videoadapt.files import PARTIAL, write_atomically
from videoadapt.paths import check_permitted, check_regular, files_in
from videoadapt.weights.files import save_torch

VERSION = 1
BEST = "best.pt"
FACTS = ("step", "config", "statement", "origin", "rates", "thresholds")
# What zipfile raises for damage, which can also make a stored record look compressed; and torch, for other files.
UNREADABLE = (
    OSError, EOFError, RuntimeError, ValueError, KeyError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


def list_checkpoints(run: Path) -> list[Path]:
    """Files `checkpoints/step_NNNNNNNN.pt` of a run's folder, the newest (by step) first."""
    found = files_in(run / "checkpoints", "step_*.pt")
    return sorted((path for path in found if _step_of(path) is not None), key=lambda path: _step_of(path) or 0)[::-1]


def checkpoint_of(run: Path, step: int) -> Path:
    """The file that holds the state of a run after so many updates."""
    return run / "checkpoints" / f"step_{step:08d}.pt"


def save_newest(run: Path, state: dict[str, Any], keep: int) -> None:
    """Save the whole state of step `state["step"]`, then delete all but the `keep` newest up to this step.

    Files of later steps go too: a run that fell back has passed them over as damaged.
    """
    save_checkpoint(checkpoint_of(run, state["step"]), state)
    upto = [path for path in list_checkpoints(run) if (_step_of(path) or 0) <= state["step"]]
    for path in set(list_checkpoints(run)) - set(upto[:keep]):
        path.unlink()


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain Python values) atomically. Raises CheckpointError when the disk is full."""

    try:
        write_atomically(path, lambda partial: save_torch({"version": VERSION, **state}, partial))
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        needed, free = sum(_sizes(state)), shutil.disk_usage(path.parent).free
        older = list_checkpoints(path.parent.parent)
        kept = f"{older[0].name} is intact" if older else "there is no earlier checkpoint"
        raise CheckpointError(
            f"{path}: cannot be written: {error.strerror}: it takes about {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free; "
            f"{kept}; free some space (or lower train.keep_checkpoints) and run the same command again to resume from there"
        ) from error


def remove_partial(run: Path) -> None:
    """Delete what killed processes left half-written among the checkpoints; only for the one who holds the folder."""
    for path in (run / "checkpoints").glob(f".*{PARTIAL}"):
        path.unlink()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a run's checkpoint onto the CPU, `weights_only`. Raises CheckpointError for any other file, and a damaged one.

    torch does not look at the checksums that it writes: flipped bits would load as other weights.
    """
    check_permitted(path)  # it is no damaged one, in whose place the one before would do
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path}: damaged: the checksum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise CheckpointError(f"{path}: not a checkpoint of a videoadapt run (version {VERSION})")
    return state


def read_facts(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself (its step, config, statement, origin, rates, thresholds), without reading its tensors.

    Values that it does not hold, as in one of an older version, are absent. Raises CheckpointError as `load_checkpoint` does.
    """
    check_permitted(path)
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))  # sees its checksum
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (*UNREADABLE, StopIteration, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise CheckpointError(f"{path}: not a checkpoint of a videoadapt run (version {VERSION})")
    return {key: state[key] for key in FACTS if key in state}


def _step_of(path: Path) -> int | None:
    match = re.fullmatch(r"step_(\d{8,})\.pt", path.name)
    return int(match[1]) if match else None


def _sizes(value: Any) -> Iterator[int]:
    """Bytes of every tensor in nested containers."""
    if isinstance(value, Tensor):
        yield value.numel() * value.element_size()
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _sizes(part)
