"""An adapter as one small file: what was trained, how to build the rest, and which backbone it belongs to.

`adapter.safetensors` holds the trained tensors and the buffers (BatchNorm statistics) under the names of the adapted
model. Its metadata rebuild that model around a backbone, whose frozen tensors must have the same fingerprint.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from videoadapt import __version__, distributed, logger
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError
from videoadapt.files import write_atomically
from videoadapt.models.classifier import Classifier
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.runs.folder import find_checkpoint, load_result
from videoadapt.runs.run import Run
from videoadapt.runs.statement import NORMALISATION, Statement, backbone_fingerprint
from videoadapt.weights.files import safetensors_bytes

FORMAT = "videoadapt adapter"


@dataclass(frozen=True)
class AdapterFile:
    """The content of one adapter file; `config.model.weights` is set only for a backbone inside the package."""

    path: Path
    config: Config
    class_names: list[str]
    backbone: str
    tensors: dict[str, Tensor]

    def load_into(self, model: nn.Module) -> None:
        """Fill an adapted model. Raises CheckpointError when its frozen tensors, or its shapes, are not the adapter's."""
        backbone = backbone_fingerprint(model)
        if backbone != self.backbone:
            raise CheckpointError(
                f"{self.path}: was trained on another backbone: its fingerprint is {self.backbone} in the file, {backbone} in "
                "the model; give the weight file of the backbone that the adapter was trained with"
            )
        load_trainable_state(model, self.tensors, self.path)


def save_adapter(model: nn.Module, config: Config, class_names: Sequence[str], path: str | Path) -> None:
    """Write the trained part of an adapted model and all that a prediction needs besides the backbone, atomically."""
    statement = Statement.of(config, class_names, model)
    kept: dict[str, Any] = {**statement.config, "seed": config.seed}  # what a backbone without weights is made from
    if config.model.weights is not None and config.model.weights.startswith("package:"):
        kept["model"] = {**kept["model"], "weights": config.model.weights}
    metadata = {
        "format": FORMAT,
        "videoadapt": __version__,
        "trunk": str(statement.backbone),  # the file format's word
        "config": json.dumps(kept),
        "class_names": json.dumps(statement.class_names, ensure_ascii=False),
        "normalisation": json.dumps(statement.normalisation),
    }
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trainable_state(model).items()}
    write_atomically(Path(path), lambda partial: partial.write_bytes(safetensors_bytes(tensors, metadata)))


def read_adapter(path: str | Path) -> AdapterFile:
    """Read an adapter file. Raises CheckpointError when it is missing, damaged or something else."""
    path = Path(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: there is no such adapter file; a finished run leaves adapter.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as an adapter file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not an adapter file (format {metadata.get('format')!r}, expected {FORMAT!r}); whole weight files "
            "go into model.weights"
        )
    try:
        config = Config.model_validate({"output": path.parent, **json.loads(metadata["config"])})
        class_names = json.loads(metadata["class_names"])
        normalisation = json.loads(metadata["normalisation"])
    except (KeyError, ValueError, ValidationError) as error:
        version = metadata.get("videoadapt")
        raise CheckpointError(
            f"{path}: its metadata, written by videoadapt {version}, cannot be read by {__version__} ({error})"
        ) from error
    if normalisation != NORMALISATION:
        raise CheckpointError(f"{path}: was trained with another normalisation ({normalisation}) than this version's")
    return AdapterFile(path, config, class_names, metadata["trunk"], tensors)


def leave_adapter(run: Run) -> None:
    """Load what a finished run is judged by, and leave it as `adapter.safetensors` in the run's folder."""
    path = find_checkpoint(run.folder)
    assert path is not None and isinstance(run.model, Classifier), "a finished run has a checkpoint"
    load_result(run.model, path, run.statement)
    if distributed.is_main():
        save_adapter(run.model, run.config, run.splits.class_names, run.folder / "adapter.safetensors")
        size = (run.folder / "adapter.safetensors").stat().st_size
        logger.info("adapter: %s (%.2f MB)", run.folder / "adapter.safetensors", size / 1e6)
