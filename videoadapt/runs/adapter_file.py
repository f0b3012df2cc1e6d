"""An adapter as one small file: what was trained, how to build the rest, and which backbone it belongs to.

`adapter.safetensors` holds the trained tensors and the buffers (BatchNorm statistics) under the names of the adapted
model. Its metadata rebuild that model around a backbone, whose frozen tensors must have the same fingerprint.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from videoadapt import __version__, distributed, logger
from videoadapt.config.keys import keys_that_alter
from videoadapt.config.schema import Alters, Config
from videoadapt.errors import CheckpointError
from videoadapt.files import write_atomically
from videoadapt.models.classifier import Classifier
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.runs.folder import find_checkpoint, load_result
from videoadapt.runs.run import Run
from videoadapt.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from videoadapt.weights.formats import plain_name

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


def backbone_fingerprint(model: nn.Module) -> str:
    """Return the sha256 (hex) over name, shape and float32 bytes of all frozen parameters, in the order of names.

    The names are those of the backbone without adapters, so neither the file format nor an adapter's place matters.
    """
    digest = hashlib.sha256()
    frozen = {
        plain_name(name): parameter for name, parameter in model.named_parameters() if not parameter.requires_grad
    }
    for name, parameter in sorted(frozen.items()):
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_adapter(model: nn.Module, config: Config, class_names: Sequence[str], path: str | Path) -> None:
    """Write the trained part of an adapted model and all that a prediction needs besides the backbone, atomically."""
    dump = config.model_dump(mode="json")
    kept: dict[str, Any] = {}
    for key in keys_that_alter(Alters.PREDICTION):
        section, name = key.split(".")
        kept.setdefault(section, {})[name] = dump[section][name]
    kept["seed"] = config.seed  # what a backbone without weights is made from
    if config.model.weights is not None and config.model.weights.startswith("package:"):
        kept["model"]["weights"] = config.model.weights
    metadata = {
        "format": FORMAT,
        "videoadapt": __version__,
        "trunk": backbone_fingerprint(model),  # the file format's word
        "config": json.dumps(kept),
        "class_names": json.dumps(list(class_names), ensure_ascii=False),
        "normalisation": json.dumps({"mean": IMAGENET_MEAN, "std": IMAGENET_STD}),
    }
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trainable_state(model).items()}
    # bytes through a file of our own: where the disk is full, safetensors hides the operating system's error
    write_atomically(Path(path), lambda partial: partial.write_bytes(save(tensors, metadata)))


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
    if normalisation != {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}:
        raise CheckpointError(f"{path}: was trained with another normalisation ({normalisation}) than this version's")
    return AdapterFile(path, config, class_names, metadata["trunk"], tensors)


def leave_adapter(run: Run) -> None:
    """Load what a finished run is judged by, and leave it as `adapter.safetensors` in the run's folder."""
    path = find_checkpoint(run.folder)
    assert path is not None and isinstance(run.model, Classifier), "a finished run has a checkpoint"
    load_result(run.model, path)
    if distributed.is_main():
        save_adapter(run.model, run.config, run.splits.class_names, run.folder / "adapter.safetensors")
        size = (run.folder / "adapter.safetensors").stat().st_size
        logger.info("adapter: %s (%.2f MB)", run.folder / "adapter.safetensors", size / 1e6)
