"""The content of an adapter file, read without looking at a model: the runs that start from one need no more."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from videoadapt import __version__
from videoadapt.config.loading import check_config
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.models.parameters import load_trainable_state
from videoadapt.paths import check_permitted, check_regular, exists, is_file
from videoadapt.runs.rates import Rates
from videoadapt.runs.statement import NORMALISATION, Statement, backbone_fingerprint
from videoadapt.weights.files import ADAPTER_FORMAT, weights_path
from videoadapt.weights.names import is_name


@dataclass(frozen=True)
class AdapterFile:
    """The content of one adapter file; `config.model.weights` is set only for a backbone inside the package or on the hub."""

    path: Path
    config: Config
    class_names: list[str]
    backbone: str
    tensors: dict[str, Tensor]
    rates: Rates = field(default_factory=Rates)  # of the videos that it was trained on, where the file says them
    thresholds: list[float] | None = None  # of several labels, where a validation chose them

    def own_weights(self) -> str | None:
        """The backbone that the file names. Raises CheckpointError for one that is not here: a file downloads nothing."""
        named = self.config.model.weights
        if named is not None and is_name(named) and not exists(weights_path(named)):
            raise CheckpointError(
                f"{self.path}: its backbone is {named}, which is not on this machine; name it as `weights` to download it"
            )
        return named

    def load_into(self, model: nn.Module) -> None:
        """Fill an adapted model. Raises CheckpointError when its frozen tensors, or its shapes, are not the adapter's."""
        backbone = backbone_fingerprint(model)
        if backbone != self.backbone:
            raise CheckpointError(
                f"{self.path}: was trained on another backbone: its fingerprint is {self.backbone} in the file, {backbone} in "
                "the model; give the weight file of the backbone that the adapter was trained with"
            )
        load_trainable_state(model, self.tensors, self.path)


def read_content(path: str | Path) -> AdapterFile:
    """Read an adapter file. Raises CheckpointError when it is missing, damaged or something else."""
    path = Path(path)
    check_regular(path)
    if not is_file(path):
        raise CheckpointError(f"{path}: there is no such adapter file; a finished run leaves adapter.safetensors")
    check_permitted(path)  # safetensors calls it missing
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as an adapter file ({error})") from error
    if metadata.get("format") != ADAPTER_FORMAT:
        raise CheckpointError(
            f"{path}: not an adapter file (format {metadata.get('format')!r}, expected {ADAPTER_FORMAT!r}); whole weight files "
            "are given as `weights`, beside an adapter"
        )
    said = described(path, metadata)
    return AdapterFile(path, said.config, said.class_names, said.backbone, tensors, said.rates, said.thresholds)


@dataclass(frozen=True)
class Described:
    """What a file that left a run says of itself besides its tensors; fields as of `AdapterFile`."""

    config: Config
    class_names: list[str]
    backbone: str
    rates: Rates
    thresholds: list[float] | None


def about_training(statement: Statement, rates: Rates | None, thresholds: Sequence[float] | None) -> dict[str, str]:
    """Metadata as `described` reads them: the classes, the frame rates that they were seen at, and thresholds."""
    metadata = {"class_names": json.dumps(statement.class_names, ensure_ascii=False)}
    if rates:
        metadata["rates"] = json.dumps(rates.as_dict())
    if thresholds is not None:
        metadata["thresholds"] = json.dumps(list(thresholds))
    return metadata


def described(path: Path, metadata: Mapping[str, str]) -> Described:
    """Read metadata as an adapter file has them. Raises CheckpointError where they are not whole, or of another version."""
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
        thresholds = _json_of(metadata, "thresholds", list) if "thresholds" in metadata else None
        if thresholds is not None and [type(of_class) for of_class in thresholds] != [float] * len(class_names):
            raise ValueError("thresholds are not a number for each class")
        config = check_config({"output": path.parent, **kept})
    except (KeyError, ValueError, ConfigError) as error:
        version = metadata.get("videoadapt")
        problems = error.problems if isinstance(error, ConfigError) else [_said(error)]
        raise CheckpointError(
            f"{path}: its metadata, written by videoadapt {version}, cannot be read by {__version__}: {'; '.join(problems)}"
        ) from error
    if normalisation != NORMALISATION:
        raise CheckpointError(f"{path}: was trained with another normalisation ({normalisation}) than this version's")
    return Described(config, class_names, backbone, rates, thresholds)


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
