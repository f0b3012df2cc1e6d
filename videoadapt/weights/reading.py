"""What one weight file holds, safetensors or torch told apart by content; nothing in it is executed."""

import argparse
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from videoadapt.errors import CheckpointError
from videoadapt.paths import why_unreadable
from videoadapt.weights.pickles import is_archive, is_of_another_kind, is_program, module_tensors, read_archive

_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
# What training checkpoints hold besides tensors, under the names of numpy 1 and 2; other pickled objects are refused.
_ALLOWED: list[Any] = [argparse.Namespace, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8", "bool"))]
_ALLOWED += [(_NUMPY_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]

# What the two readers raise on bytes that were cut or changed (found by changing bytes at random).
_DAMAGED: tuple[type[Exception], ...] = (
    AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SafetensorError, TypeError, ValueError,
    struct.error, zipfile.BadZipFile,
)  # fmt: skip


def load(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return what a file holds, safetensors and torch told apart by content, and notes; nothing in it is executed.

    Raises CheckpointError for one that is missing, damaged or of another kind.
    """
    if reason := why_unreadable(path):  # opening a pipe would wait for its other end
        raise CheckpointError(f"{path}: {reason}")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start == b"version h":
            raise CheckpointError(f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull` in its folder")
        if start[8:] == b"{":  # safetensors: eight bytes of length, then a json object
            return load_file(path), ()
        if is_of_another_kind(path):
            raise CheckpointError(
                f"{path}: an archive without weights of torch, as an exported .pt2 and an .npz are; name a weight file"
            )
        if is_program(path):
            return module_tensors(read_archive(path)[0]), ()
        return _load_torch(path)
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


def _load_torch(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Through torch, or where a trainer left objects of its own beside the tensors, without these."""
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True), ()
    except pickle.UnpicklingError as error:
        if not re.search(r"GLOBAL [\w.]+", str(error)) or not is_archive(path):
            raise
    content, unread = read_archive(path)
    return content, (f"Python objects left unread ({', '.join(unread[:3])}{', ...' * (len(unread) > 3)})",)
