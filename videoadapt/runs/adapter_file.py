"""An adapter as one small file: what was trained, how to build the rest, and which backbone it belongs to.

`adapter.safetensors` holds the trained tensors and the buffers (BatchNorm statistics) under the names of the adapted
model. Its metadata rebuild that model around a backbone, whose frozen tensors must have the same fingerprint.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from videoadapt import __version__, distributed, logger
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError, VideoAdaptError
from videoadapt.files import write_atomically
from videoadapt.models.classifier import Classifier
from videoadapt.models.parameters import trainable_state
from videoadapt.runs.adapter_content import AdapterFile, about_training, read_content
from videoadapt.runs.build import build_on_meta, build_seeded_model
from videoadapt.runs.checkpoint import load_checkpoint
from videoadapt.runs.folder import find_checkpoint, load_result
from videoadapt.runs.rates import Rates, rates_in
from videoadapt.runs.run import Run
from videoadapt.runs.start import origin
from videoadapt.runs.statement import Statement
from videoadapt.system import memory_bytes
from videoadapt.weights.files import ADAPTER_FORMAT, Tensors, check_weights, safetensors_bytes, weights_path
from videoadapt.weights.names import is_name
from videoadapt.weights.published import fetched


def save_adapter(
    model: nn.Module,
    config: Config,
    class_names: Sequence[str],
    path: str | Path,
    rates: Rates | None = None,
    thresholds: Sequence[float] | None = None,
) -> None:
    """Write the trained part of an adapted model and all that a prediction needs besides the backbone, atomically.

    `rates` are those of the videos that it was trained on, `thresholds` of several labels those that a validation chose.
    """
    place = origin(config)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trainable_state(model).items()}
    statement = Statement.of(config, class_names, model)
    write_adapter(Path(path), tensors, statement, place.seed, place.weights, rates, thresholds)


def write_adapter(
    path: Path,
    tensors: Tensors,
    statement: Statement,
    seed: int,
    weights: str | None,
    rates: Rates | None,
    thresholds: Sequence[float] | None = None,
) -> None:
    """Write an adapter file of these tensors, atomically.

    `seed` is what a backbone without weights is made from; `weights` are named only where they are inside the package, or
    by a name of the hub: paths and addresses are nobody else's business.
    """
    kept: dict[str, Any] = {**statement.config, "seed": seed}
    if weights is not None and weights.startswith(("package:", "hf:")):
        kept["model"] = {**kept["model"], "weights": weights}
    metadata = {
        "format": ADAPTER_FORMAT,
        "videoadapt": __version__,
        "trunk": str(statement.backbone),  # the file format's word
        "config": json.dumps(kept),
        "normalisation": json.dumps(statement.normalisation),
        **about_training(statement, rates, thresholds),
    }
    write_atomically(path, lambda partial: partial.write_bytes(safetensors_bytes(tensors, metadata)))


def read_adapter(path: str | Path) -> AdapterFile:
    """Read an adapter file, one inside videoadapt (package:NAME), or download one by its name (hf:user/name).

    Raises CheckpointError when it is missing, damaged, something else, or of no possible model.
    """
    if is_name(str(path)):
        path = weights_path(fetched(str(path)))
    elif str(path).startswith("package:"):
        path = weights_path(str(path))
    found = read_content(path)
    _check_model(found.path, found.config, len(found.class_names))
    return found


def open_adapter(path: str | Path, weights: str | Path | None = None) -> tuple[AdapterFile, Config, Classifier]:
    """An adapter file, its config and its model on the CPU, around the backbone in `weights` (None: the one that it names).

    Sets torch's seeds. Raises CheckpointError when either cannot be read, or the backbone is not the adapter's.
    """
    adapter = read_adapter(path)
    if weights is not None and not is_name(str(weights)):
        check_weights("weights", weights)
    chosen = {"weights": str(weights) if weights else adapter.own_weights()}
    config = adapter.config.model_copy(update={"model": adapter.config.model.model_copy(update=chosen)})
    model = build_seeded_model(config, len(adapter.class_names), "weights", trained=True)
    adapter.load_into(model)
    return adapter, config, model.eval()


def _check_model(path: Path, config: Config, num_classes: int) -> None:
    """Raise CheckpointError where no model can be made of what the file says, before memory is taken for one."""
    try:
        without = config.model_copy(update={"model": config.model.model_copy(update={"weights": None})})
        model = build_on_meta(without, num_classes)
    except VideoAdaptError as error:
        raise CheckpointError(f"{path}: {error}") from error
    needed = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if (there := memory_bytes()) is not None and needed > there:
        raise CheckpointError(
            f"{path}: describes a model of {needed / 1e9:,.0f} GB, more memory than this machine has ({there / 1e9:,.0f} GB)"
        )


def leave_adapter(run: Run) -> None:
    """Load what a finished run is judged by, and leave it as `adapter.safetensors` in the run's folder."""
    path = find_checkpoint(run.folder)
    assert path is not None and isinstance(run.model, Classifier), "a finished run has a checkpoint"
    state = load_checkpoint(path)
    load_result(run.model, path, run.statement, state)
    if distributed.is_main():
        file, names = run.folder / "adapter.safetensors", run.splits.class_names
        save_adapter(run.model, run.config, names, file, rates_in(state), state.get("thresholds"))
        size = (run.folder / "adapter.safetensors").stat().st_size
        logger.info("adapter: %s (%.2f MB)", run.folder / "adapter.safetensors", size / 1e6)
