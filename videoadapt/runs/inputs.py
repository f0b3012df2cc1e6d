"""Everything that can be known wrong before a run, found before its first step and said at once."""

from collections.abc import Sequence
from pathlib import Path

from videoadapt.config.schema import Config
from videoadapt.data.splits import Splits
from videoadapt.errors import ConfigError, NotPermitted, VideoAdaptError
from videoadapt.models.autoencoder import MaskedAutoencoder
from videoadapt.models.backbone import is_chain
from videoadapt.models.backbones._layers import blocks_of, recomputed_in
from videoadapt.models.classifier import Classifier
from videoadapt.paths import exists, started_from
from videoadapt.runs.build import build_on_meta
from videoadapt.runs.build_data import schedule_of
from videoadapt.runs.checkpoint import read_facts
from videoadapt.runs.checks import batch_problems, nothing_to_test, setting_problems
from videoadapt.runs.class_sizes import class_problems
from videoadapt.runs.fitting import fitted
from videoadapt.runs.folder import find_checkpoint, statement_in
from videoadapt.runs.lists import has_files_to_make, load_splits
from videoadapt.runs.machine import machine_problems, output_problems
from videoadapt.runs.named_weights import download_problems, with_commits
from videoadapt.runs.statement import Statement, check_statement, class_problem
from videoadapt.weights.files import weights_path
from videoadapt.weights.names import is_name


def load_inputs(config: Config, ranks: int = 1, *, here: bool = True) -> Splits:
    """Check all that can be known wrong before the first step, and return the lists.

    Raises one ConfigError with a line for each problem that `find_problems` finds.
    """
    splits, problems = find_problems(config, ranks, here=here)
    if problems or splits is None:
        raise ConfigError(problems)
    return splits


def find_problems(config: Config, ranks: int = 1, *, here: bool = True) -> tuple[Splits | None, list[str]]:
    """Look at settings, lists, model, weights, batch size and folders; return the lists, if they are usable, and the problems.

    `ranks`: processes that will share the work. `here`: the run will be on this machine, so that device, compiler and cache
    are looked at as well. Nothing is written, except by downloads of weights and by data sets that make their files, which
    begin when nothing else is wrong; no memory is taken for weights.
    """
    config = with_commits(config)
    problems = setting_problems(config) + output_problems(config.output) + (machine_problems(config) if here else [])
    splits: Splits | None = None
    try:
        splits = load_splits(config, make=False)
    except VideoAdaptError as error:
        problems.append(str(error))
    problems += (failed := download_problems(config, hold=bool(problems)))
    problems += _model_problems(_without_absent(config), splits.class_names if splits and not failed else None)
    if splits is not None and not config.train.enable:
        problems += _statement_problems(config, splits.class_names)
    if splits is not None and config.train.enable:
        config = fitted(config, splits.train, ranks)
        problems += batch_problems(config, schedule_of(config, splits.train).num_videos, ranks)
        problems += class_problems(config, splits.train, splits.class_names)
    if not problems and has_files_to_make(config):
        try:
            splits = load_splits(config)
        except VideoAdaptError as error:
            problems.append(str(error))
    return splits, problems


def _without_absent(config: Config) -> Config:
    """The config without weights that were to be downloaded and are not here; why they are not was said."""
    model = config.model
    given = {key: getattr(model, key) for key in ("weights", "backbone_weights")}
    absent = [key for key, name in given.items() if name and is_name(name) and not exists(weights_path(name))]
    return config.model_copy(update={"model": model.model_copy(update=dict.fromkeys(absent))})


def _model_problems(config: Config, class_names: Sequence[str] | None) -> list[str]:
    """Where backbone, adapters, weights, clips and optimizer do not fit; the class names are None where they are not known."""
    weights = config.model.weights
    try:
        is_there = weights is None or exists(weights_path(weights))
    except NotPermitted as error:
        return [f"model.weights = {error}"]
    if not is_there:
        where = f"\n    where to get it: {config.model.obtain}" if config.model.obtain else ""
        place = "" if weights_path(str(weights)).is_absolute() else f" {started_from()}"
        absent = [f"model.weights = {weights}: there is no such file{place}{where}"]
        config = config.model_copy(update={"model": config.model.model_copy(update={"weights": None})})
        return absent + _model_problems(config, None)
    if weights is not None and config.train.enable and _is_own(weights_path(weights), config.output):
        return [
            f"model.weights = {weights}: this run's own `output`, where it resumes; choose another one to begin anew"
        ]
    try:
        model = build_on_meta(config, class_names or 2)
    except VideoAdaptError as error:
        return [str(error)]
    problems = _training_problems(config, model) if config.train.enable else []
    if class_names and isinstance(model, Classifier):
        theirs = model.head_class_names or ()
        # other names may be another spelling; the same ones in another order are the labels of other actions
        if sorted(theirs) == sorted(class_names) and (problem := class_problem(theirs, class_names)):
            problems.append(f"model.weights = {weights}: its head's {problem}")
        if not config.train.enable and config.test.enable:
            problems += filter(None, [nothing_to_test(config, model, len(class_names))])
    return problems


def _training_problems(config: Config, model: Classifier | MaskedAutoencoder) -> list[str]:
    """What the training asks of blocks that this backbone does not have."""
    name = config.model.backbone["name"]
    needed = {
        "activation_checkpointing": (recomputed_in, "vit, or of a transformer of timm that takes adapters"),
        "shard": (blocks_of, "vit"),
    }
    problems = [
        f"train.{key} = true: needs the blocks of backbone {whose}; model.backbone.name = {name!r} has none"
        for key, (blocks, whose) in needed.items()
        if getattr(config.train, key) and not blocks(model)
    ]
    if config.optim.layer_decay < 1 and not is_chain(model.backbone):
        problems.append(
            f"optim.layer_decay = {config.optim.layer_decay}: needs a backbone that is a plain chain of blocks, which "
            f"model.backbone.name = {name} is not; allowed: 1.0"
        )
    return problems


def _is_own(weights: Path, output: Path) -> bool:
    """Whether the weights are what a run in this folder leaves, with which it would begin again and again."""
    weights, output = weights.resolve(), output.resolve()
    return weights in (output, output / "adapter.safetensors") or weights.parent == output / "checkpoints"


def _statement_problems(config: Config, class_names: Sequence[str]) -> list[str]:
    """Where the checkpoint that shall be tested was made with other values; its frozen tensors are compared once loaded."""
    try:
        path = find_checkpoint(config.output)
        there = None if path is None else statement_in(read_facts(path), path)
        if path is not None and there is not None:
            check_statement(path, there, Statement.of(config, class_names))
    except VideoAdaptError as error:
        return str(error).splitlines()
    return []
