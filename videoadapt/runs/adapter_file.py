"""An adapter as one small file: what was trained, how to build the rest, and which backbone it belongs to.

`adapter.safetensors` holds the trained tensors and the buffers (BatchNorm statistics) under the names of the adapted
model. Its metadata rebuild that model around a backbone, whose frozen tensors must have the same fingerprint.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from videoadapt import __version__, distributed, logger
from videoadapt.config.loading import check_config
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError, ConfigError, VideoAdaptError
from videoadapt.files import write_atomically
from videoadapt.models.classifier import Classifier
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.paths import check_permitted, is_file
from videoadapt.runs.build import build_on_meta
from videoadapt.runs.folder import find_checkpoint, load_result
from videoadapt.runs.rates import Rates, trained_rates
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
    rates: Rates = field(default_factory=Rates)  # of the videos that it was trained on, where the file says them

    def load_into(self, model: nn.Module) -> None:
        """Fill an adapted model. Raises CheckpointError when its frozen tensors, or its shapes, are not the adapter's."""
        backbone = backbone_fingerprint(model)
        if backbone != self.backbone:
            raise CheckpointError(
                f"{self.path}: was trained on another backbone: its fingerprint is {self.backbone} in the file, {backbone} in "
                "the model; give the weight file of the backbone that the adapter was trained with"
            )
        load_trainable_state(model, self.tensors, self.path)


def save_adapter(
    model: nn.Module, config: Config, class_names: Sequence[str], path: str | Path, rates: Rates | None = None
) -> None:
    """Write the trained part of an adapted model and all that a prediction needs besides the backbone, atomically.

    `rates` are those of the videos that it was trained on.
    """
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
        **({"rates": json.dumps(rates.as_dict())} if rates else {}),
    }
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trainable_state(model).items()}
    write_atomically(Path(path), lambda partial: partial.write_bytes(safetensors_bytes(tensors, metadata)))


def read_adapter(path: str | Path) -> AdapterFile:
    """Read an adapter file. Raises CheckpointError when it is missing, damaged or something else."""
    path = Path(path)
    if not is_file(path):
        raise CheckpointError(f"{path}: there is no such adapter file; a finished run leaves adapter.safetensors")
    check_permitted(path)  # safetensors calls it missing
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as an adapter file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not an adapter file (format {metadata.get('format')!r}, expected {FORMAT!r}); whole weight files "
            "are given as `weights`, beside an adapter"
        )
    try:
        kept, class_names, normalisation, backbone = (
            _json_of(metadata, "config", dict),
            _json_of(metadata, "class_names", list),
            _json_of(metadata, "normalisation", dict),
            metadata["trunk"],
        )
        if len(class_names) < 2 or not all(isinstance(name, str) for name in class_names):
            raise ValueError("class_names are not two texts or more")
        rates = Rates.read(_json_of(metadata, "rates", dict) if "rates" in metadata else {})
        config = check_config({"output": path.parent, **kept})
    except (KeyError, ValueError, ConfigError) as error:
        version = metadata.get("videoadapt")
        problems = error.problems if isinstance(error, ConfigError) else [_said(error)]
        raise CheckpointError(
            f"{path}: its metadata, written by videoadapt {version}, cannot be read by {__version__}: {'; '.join(problems)}"
        ) from error
    if normalisation != NORMALISATION:
        raise CheckpointError(f"{path}: was trained with another normalisation ({normalisation}) than this version's")
    _check_model(path, config, len(class_names))
    return AdapterFile(path, config, class_names, backbone, tensors, rates)


def _check_model(path: Path, config: Config, num_classes: int) -> None:
    """Raise CheckpointError where no model can be made of what the file says, before memory is taken for one."""
    try:
        without = config.model_copy(update={"model": config.model.model_copy(update={"weights": None})})
        model = build_on_meta(without, num_classes)
    except VideoAdaptError as error:
        raise CheckpointError(f"{path}: {error}") from error
    needed = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if needed > (there := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise CheckpointError(
            f"{path}: describes a model of {needed / 1e9:,.0f} GB, more memory than this machine has ({there / 1e9:,.0f} GB)"
        )


def _json_of(metadata: Mapping[str, str], key: str, kind: type) -> Any:
    """Raises KeyError or ValueError where the metadata have no such value."""
    try:
        value = json.loads(metadata[key])
    except (RecursionError, ValueError) as error:  # brackets a thousand deep; numbers of a thousand digits
        raise ValueError(f"{key} is no JSON: {error}") from error
    if not isinstance(value, kind):
        raise ValueError(f"{key} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def _said(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def leave_adapter(run: Run) -> None:
    """Load what a finished run is judged by, and leave it as `adapter.safetensors` in the run's folder."""
    path = find_checkpoint(run.folder)
    assert path is not None and isinstance(run.model, Classifier), "a finished run has a checkpoint"
    load_result(run.model, path, run.statement)
    if distributed.is_main():
        save_adapter(
            run.model, run.config, run.splits.class_names, run.folder / "adapter.safetensors", trained_rates(run.folder)
        )
        size = (run.folder / "adapter.safetensors").stat().st_size
        logger.info("adapter: %s (%.2f MB)", run.folder / "adapter.safetensors", size / 1e6)
