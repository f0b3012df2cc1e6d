"""What a run left, as what another begins with: its backbone, what it trained, and the rows of its head by class names."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from videoadapt import logger
from videoadapt.config.keys import alters, with_defaults
from videoadapt.config.loading import check_config, load_config
from videoadapt.config.marks import Alters
from videoadapt.config.schema import Config, ModelConfig
from videoadapt.errors import CheckpointError
from videoadapt.models.adapters import Adapter, build_adapter
from videoadapt.models.backbone import Backbone
from videoadapt.models.classifier import Classifier
from videoadapt.paths import exists, is_file, is_folder, why_unreadable
from videoadapt.registry import BACKBONES
from videoadapt.runs.adapter_content import read_content
from videoadapt.runs.checkpoint import load_checkpoint, read_facts
from videoadapt.runs.folder import check_class_names, needed_checkpoint, read_class_names, statement_in
from videoadapt.runs.statement import Difference, Statement, completed, differences, fingerprint
from videoadapt.video.sides import CropPx, size_text
from videoadapt.weights.files import ADAPTER_FORMAT, Tensors, weights_path
from videoadapt.weights.formats import Weights, plain_name, read_weights


@dataclass(frozen=True)
class Start:
    """A run folder, a checkpoint or an adapter file; `config` is its run's, with the place of the backbone where it tells.

    `statement` says what its tensors belong to, and `tensors` reads them, under the names of the adapted model.
    """

    path: Path
    config: Config
    statement: Statement
    tensors: Callable[[], Tensors]


class Origin(NamedTuple):
    """Where the backbone of a run came from: a weight file or folder, or without one the seed that drew it."""

    weights: str | None
    seed: int


@dataclass(frozen=True)
class StartWeights(Weights):
    """The backbone that a run began with, and over it what it trained."""

    start: Start | None = None
    trained: frozenset[str] = frozenset()

    def confirm(self, model: Classifier, num_frames: int, crop_px: CropPx) -> None:
        """Look at the frozen tensors of a model that was filled with these, and say what became of positions.

        Raises CheckpointError where the backbone is not that of the run.
        """
        assert self.start is not None
        data, there = self.start.config.data, self.start.statement.backbone
        frozen = {plain_name(name): p for name, p in model.named_parameters() if plain_name(name) not in self.trained}
        if there is not None and there != (here := fingerprint(frozen)):
            raise CheckpointError(
                f"{self.path}: was trained on another backbone: its fingerprint is {there} in the file, {here} in the model; "
                "name the weight file that it was trained with in model.backbone_weights"
            )
        if (data.num_frames, data.crop_px) != (num_frames, crop_px):
            logger.info(
                "%s: clips of %d frames of %s px there, %d frames of %s px here: %s",
                self.path, data.num_frames, size_text(data.crop_px), num_frames, size_text(crop_px),
                model.backbone.positions_elsewhere(),
            )  # fmt: skip


def read_start(location: str | None) -> Start | None:
    """What `model.weights` names, where a run left it; None for nothing, for weights of any other kind, and for no file.

    Raises CheckpointError for one that cannot be read, or that holds no checkpoint or no classes.
    """
    path = None if location is None else weights_path(location)
    if path is None:
        return None
    if is_folder(path):
        return _of_folder(path) if is_file(path / "config.yaml") and is_folder(path / "checkpoints") else None
    if not is_file(path) or why_unreadable(path):
        return None
    if _is_adapter(path):
        return _of_adapter(path)
    facts: Mapping[str, Any] = {}
    with suppress(CheckpointError):  # of another format, which the next reader tells
        facts = read_facts(path)
    return _of_checkpoint(path, facts) if "step" in facts else None


def origin(config: Config) -> Origin:
    """Where the backbone of a run with this config comes from, through all the runs that it began with."""
    spec = config.model
    location = spec.backbone_weights or spec.weights
    start = read_start(location)
    return Origin(location, config.seed) if start is None else origin(start.config)


def start_weights(start: Start, spec: ModelConfig, class_names: Sequence[str] | None) -> StartWeights:
    """The tensors of a run's whole model, for a model as `spec` describes it; without class names its head is new.

    Raises CheckpointError where the model is another, or the backbone's file cannot be read.
    """
    _check_same_model(start, spec)
    given = {} if spec.backbone_weights is None else {"backbone_weights": spec.backbone_weights}
    place = origin(start.config.model_copy(update={"model": start.config.model.model_copy(update=given)}))
    if place.weights is not None and not exists(weights_path(place.weights)):
        raise CheckpointError(
            f"{start.path}: the weights of its backbone, {place.weights}, are not there; name them in model.backbone_weights"
        )
    names = BACKBONES.get(start.config.model.backbone["name"]).weight_names
    base = _drawn(start.config, place.seed) if place.weights is None else read_weights(place.weights, names=names)
    trained = {plain_name(name): tensor for name, tensor in start.tensors().items()}
    backbone = {name: t for name, t in base.part(adapter=False).items() if name.startswith("backbone.")}
    classes = start.statement.class_names
    return StartWeights(
        start.path,
        "what a run left",
        backbone | trained,
        eps=base.eps,
        num_heads=base.num_heads,
        activation=base.activation,
        architecture=base.architecture,
        class_rows=tuple(classes.index(name) if name in classes else None for name in class_names or ()),
        start=start,
        trained=frozenset(trained),
    )


def _check_same_model(start: Start, spec: ModelConfig) -> None:
    there, ours = start.statement, Statement.of(Config(output=start.path, model=spec), [])
    others = [
        found
        for found in differences(there.config["model"], completed(ours.config)["model"], "model")
        if Alters.FUNCTION in alters(found[0])
    ]
    if others:
        raise CheckpointError(
            f"{start.path}: "
            + ", ".join(f"{key} = {old!r} there, {new!r} here" for key, old, new in others)
            + f"; what a run left goes on as the model that it is: set the run's values, or {_instead(start, others)}"
        )
    if there.normalisation != ours.normalisation:
        raise CheckpointError(f"{start.path}: was trained with another normalisation ({there.normalisation})")


def _instead(start: Start, others: Sequence[Difference]) -> str:
    """What begins with less than the whole model: plain weights, of an adapter and a BatchNorm that can be merged into them."""
    adapter = build_adapter(start.config.model.adapter)
    merges = all(type(part).merge is not Adapter.merge for part in getattr(adapter, "parts", [adapter]))
    if not merges or not all(key.startswith(("model.adapter", "model.head.batch_norm")) for key, _, _ in others):
        return "name the weights of a backbone, and not what the run left"
    if _is_adapter(start.path):
        source = f"--adapter {quote(str(start.path))} --weights BACKBONE"
    else:
        source = f"--run {quote(str(start.path if is_folder(start.path) else start.path.parent.parent))}"
    plain = f"make plain weights of it with `videoadapt export OUT.pth {source}`"
    return f"{plain} and name those, with model.head.batch_norm false"


def _drawn(config: Config, seed: int) -> Weights:
    """The backbone of a run without weights, as its seed drew it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone: nn.Module = BACKBONES.build(config.model.backbone)
    assert isinstance(backbone, Backbone)
    return Weights(Path(), "random", {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()})


def _of_folder(folder: Path) -> Start:
    path = needed_checkpoint(folder)
    return replace(_of_checkpoint(path, read_facts(path)), path=folder)


def _of_checkpoint(path: Path, facts: Mapping[str, Any]) -> Start:
    """A checkpoint says with which config it was trained; one of an older version stands in its run's folder."""
    folder = path.parent.parent
    if "config" in facts:
        values = {key: value for key, value in facts["config"].items() if key != "lists"}
        config = check_config(with_defaults(completed(values)))
    else:
        config = load_config(folder / "config.yaml")
    if config.task != "train":
        raise CheckpointError(
            f"{path}: is of a masked pre-training, which has no classes; name {folder / 'pretrained.pth'}"
        )
    statement = statement_in(facts, path) or Statement.of(config, read_class_names(folder))
    check_class_names(statement.class_names, folder)

    def tensors() -> Tensors:
        state = load_checkpoint(path)
        found: Tensors = state["ema"] or state["model"]
        return found

    return Start(path, config, statement, tensors)


def _of_adapter(path: Path) -> Start:
    """An adapter file; the config of the run, where it still lies in its folder, tells where the backbone is."""
    content = read_content(path)
    config, beside = content.config, path.parent / "config.yaml"
    if config.model.weights is None and is_file(beside):
        spec = load_config(beside).model
        update = {"weights": spec.weights, "backbone_weights": spec.backbone_weights}
        config = config.model_copy(update={"model": config.model.model_copy(update=update)})
    statement = replace(Statement.of(config, content.class_names), backbone=content.backbone)
    return Start(path, config, statement, lambda: content.tensors)


def _is_adapter(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == ADAPTER_FORMAT
    except (SafetensorError, OSError):
        return False
