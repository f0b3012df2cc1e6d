"""Everything that can be known wrong before a run, found before its first step and said at once."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import distributed, logger
from videoadapt.config.schema import Config, DataConfig, Holdout
from videoadapt.config.shipped import LISTS, find_list
from videoadapt.data.list_files import read_classes, why_no_file
from videoadapt.data.shared_classes import OtherList
from videoadapt.data.splits import (
    NO_FILE,
    Splits,
    find_files,
    first_of_each_class,
    held_out,
    num_shared,
    some_of_each_class,
)
from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError, DataListError, NotPermitted, VideoAdaptError
from videoadapt.models.backbone import is_chain
from videoadapt.models.backbones._layers import blocks_of, recomputed_in
from videoadapt.models.classifier import Classifier
from videoadapt.paths import exists, is_folder
from videoadapt.rendering.motions import MOTIONS
from videoadapt.runs.build import build_on_meta
from videoadapt.runs.build_data import build_dataset, schedule_of
from videoadapt.runs.checkpoint import read_facts
from videoadapt.runs.checks import batch_problems, nothing_to_test, setting_problems
from videoadapt.runs.class_sizes import class_problems, say_unequal
from videoadapt.runs.fitting import fitted
from videoadapt.runs.folder import find_checkpoint, statement_in
from videoadapt.runs.frame_counts import short_folders
from videoadapt.runs.machine import machine_problems, output_problems
from videoadapt.runs.named_weights import download_problems, with_commits
from videoadapt.runs.overlaps import say_overlaps
from videoadapt.runs.same_files import same_files
from videoadapt.runs.statement import Statement, check_statement, class_problem
from videoadapt.runs.test_lists import data_of, other_lists, own_list, under_our_labels
from videoadapt.video.decoders import reads_folders
from videoadapt.video.files import why_no_video
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
    are looked at as well. Nothing is written, except by data sets that render themselves and by downloads of weights, which
    begin when nothing else is wrong; no memory is taken for weights.
    """
    config = with_commits(config)
    problems = setting_problems(config) + output_problems(config.output) + (machine_problems(config) if here else [])
    splits: Splits | None = None
    try:
        splits = load_splits(config)
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
    problems = []
    if config.train.enable:
        needed = {
            "activation_checkpointing": (recomputed_in, "vit, or of a transformer of timm that takes adapters"),
            "shard": (blocks_of, "vit"),
        }
        problems += [
            f"train.{key} = true: needs the blocks of backbone {whose}; "
            f"model.backbone.name = {config.model.backbone['name']!r} has none"
            for key, (blocks, whose) in needed.items()
            if getattr(config.train, key) and not blocks(model)
        ]
    if config.train.enable and config.optim.layer_decay < 1 and not is_chain(model.backbone):
        problems.append(
            f"optim.layer_decay = {config.optim.layer_decay}: needs a backbone that is a plain chain of blocks, which "
            f"model.backbone.name = {config.model.backbone['name']} is not; allowed: 1.0"
        )
    if class_names and isinstance(model, Classifier):
        theirs = model.head_class_names or ()
        # other names may be another spelling; the same ones in another order are the labels of other actions
        if sorted(theirs) == sorted(class_names) and (problem := class_problem(theirs, class_names)):
            problems.append(f"model.weights = {weights}: its head's {problem}")
        if not config.train.enable and config.test.enable:
            problems += filter(None, [nothing_to_test(config, model, len(class_names))])
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


def load_splits(config: Config) -> Splits:
    """Load the lists that the run needs. Raises DataListError with all problems at once.

    A list is needed when `train.enable` or `test.enable` asks for it.
    """
    data = config.data
    problems: list[str] = []
    dataset = build_dataset(data)
    val_needed = config.train.enable or (config.test.enable and config.test.calibrate)
    needed = {
        "train": (config.train.enable or (val_needed and isinstance(data.val, Holdout))) and data.rendered is None,
        "val": val_needed and isinstance(data.val, str),
        "test": config.test.enable,
    }
    own = own_list(data)
    sources = {"train": data.train, "test": None if own is None else own.list}
    sources["val"] = data.val if isinstance(data.val, str) else None
    folders = reads_folders(data.decoder)
    with distributed.main_process_first():
        lists = {
            split: _load_list(dataset, split, sources[split], data, problems)
            if needed[split]
            else VideoRows(data.root, ())
            for split in ("train", "test", "val")
        }
    class_names = _class_names(dataset, config, problems)
    limits = {"train": data.max_unreadable, "val": 0.0, "test": config.test.max_unreadable}
    files = {}
    for split, videos in lists.items():
        if class_names:
            problems += _wrong_labels(split, videos, len(class_names))
        files[split] = find_files(videos, folders)
        problems += _missing_files(split, videos, files[split], limits[split], data)
        problems += same_files(split, videos, files[split], config.task != "pretrain")
        problems += short_folders(split, videos, files[split], limits[split], data.decoder)
    if len({lists[split].unit for split in lists if lists[split].parts_N2 is not None}) > 1:
        problems.append(
            "data.train, data.val, data.test: some rows are parts in seconds, others in frames; choose one for all"
        )
    if problems:
        raise DataListError("\n".join(problems))
    others = _load_others(config, class_names, lists["train"], files["train"]) if config.test.enable else {}
    if isinstance(data.val, Holdout) and val_needed:
        held_N = held_out(lists["train"], data.val.holdout, data.val.group, config.seed)
        lists["train"], lists["val"] = lists["train"].select(~held_N), lists["train"].select(held_N)
        files["train"], files["val"] = files["train"][~held_N], files["train"][held_N]
    if data.first_per_class is not None:
        few_N = first_of_each_class(lists["train"], data.first_per_class)
        lists["train"], files["train"] = lists["train"].select(few_N), files["train"][few_N]
    if (draw := data.few_per_class) is not None:
        few_N = some_of_each_class(lists["train"], draw.count, config.seed if draw.seed is None else draw.seed)
        lists["train"], files["train"] = lists["train"].select(few_N), files["train"][few_N]
    say_overlaps(lists, files)
    say_unequal(config, lists["train"], class_names)
    num_val_in_test = num_shared(files["val"], files["test"], lists["val"].parts_N2, lists["test"].parts_N2)
    return Splits(lists["train"], lists["val"], lists["test"], class_names, num_val_in_test, others)


def _load_others(
    config: Config, class_names: Sequence[str], training: VideoRows, trained_N: NDArray[Any]
) -> dict[str, OtherList]:
    """The lists to test on after the first, checked as that is. Raises DataListError with all problems."""
    problems: list[str] = []
    found, limit = {}, config.test.max_unreadable
    for name, asked in other_lists(config.data).items():
        split, data, before = f"test.{name}", data_of(config.data, asked), len(problems)
        with distributed.main_process_first():
            videos = _load_list(build_dataset(data), split, asked.list, data, problems)
        try:
            found[name] = (
                under_our_labels(name, asked, videos, class_names) if len(problems) == before else OtherList(videos)
            )
        except DataListError as error:
            problems.append(str(error))
            continue
        videos = found[name].videos
        files_N = find_files(videos, reads_folders(data.decoder))
        problems += _wrong_labels(split, videos, len(class_names))
        problems += _missing_files(split, videos, files_N, limit, data)
        problems += same_files(split, videos, files_N)
        problems += short_folders(split, videos, files_N, limit, data.decoder)
        if shared := num_shared(trained_N, files_N, training.parts_N2, videos.parts_N2):
            logger.warning("data.train and data.%s share %d videos: the accuracy on it will be too high", split, shared)
    if problems:
        raise DataListError("\n".join(problems))
    return found


def _load_list(dataset: Any, split: str, source: str | None, data: DataConfig, problems: list[str]) -> VideoRows:
    nothing = VideoRows(data.root, ())
    if source is None:
        problems.append(f"data.{split}: is not set; name a list of videos, or set {split}.enable false")
        return nothing
    try:
        videos: VideoRows = dataset.load(str(find_list(source)), data.root)
    except DataListError as error:
        is_list = hasattr(dataset, "columns")
        problems.append(f"data.{split} = {error}{_where_lists_are(source, data) if is_list else _obtain(data)}")
        return nothing
    except OSError as error:  # of a data set that renders itself
        problems.append(f"data.root = {data.root}: {error.strerror}: {error.filename or source}; choose another folder")
        return nothing
    if split != "train":
        first: dict[str, int] = {}
        doubled = [row for row, name in enumerate(videos.ids()) if first.setdefault(name, row) != row]
        if doubled:
            again = videos[doubled[0]]
            before = videos[first[again.id]]
            labels = f", labels {before.label} and {again.label}" if before.label != again.label else ""
            problems.append(
                f"data.{split} = {source}: {len(doubled)} videos appear twice, first {again.id!r} (lines "
                f"{before.line} and {again.line}{labels}); take one out"
            )
    return videos


def _class_names(dataset: object, config: Config, problems: list[str]) -> list[str]:
    data = config.data
    if config.task == "pretrain":
        return []
    if data.rendered is not None and data.rendered.motions != "any":
        return list(MOTIONS[data.rendered.motions])
    if isinstance(data.classes, int):
        return [str(label) for label in range(data.classes)]
    if data.classes is None:
        names: list[str] | None = dataset.class_names  # type: ignore[attr-defined]
        if names is None:
            problems.append("data.classes: is not set; name a file with one class name a line, or give their number")
        return names or []
    try:
        return read_classes(find_list(data.classes))
    except DataListError as error:
        problems.append(f"data.classes = {error}{_where_lists_are(data.classes, data)}")
        return []


def _wrong_labels(split: str, videos: VideoRows, num_classes: int) -> list[str]:
    wrong = np.flatnonzero(videos.highest_label_N() >= num_classes)
    if not len(wrong):
        return []
    first = videos[wrong[0]]
    return [
        f"data.{split}: {len(wrong)} labels are outside 0..{num_classes - 1} (data.classes names {num_classes} classes), "
        f"first {first.label_text} of {first.id!r} (line {first.line}); fix the list or data.classes"
    ]


def _missing_files(split: str, videos: VideoRows, files_N: NDArray[Any], limit: float, data: DataConfig) -> list[str]:
    missing = np.flatnonzero(files_N["inode"] == NO_FILE)
    if not len(missing):
        return []
    first = videos[missing[0]]
    hint = why_no_file(f"{first.name} {first.label_text}") if videos.parts_N2 is None else ""
    said = (
        f"data.root = {data.root}: {len(missing)} of the {len(videos)} videos of data.{split} are not there, "
        f"first {first.path} (line {first.line}): {why_no_video(first.path, reads_folders(data.decoder))}{hint}"
    )
    if len(missing) <= limit * len(videos):
        logger.warning("%s; within the limit of %g, so the run continues without them", said, limit)
        return []
    if not is_folder(data.root) and not data.root.is_absolute():
        said += f"; data.root starts {started_from()}"
    return [said + _obtain(data)]


def _where_lists_are(name: str, data: DataConfig) -> str:
    """What to do about a list that is not there; "" for one that is, and whose content is wrong."""
    path = find_list(name)
    try:
        if os.path.islink(path) or exists(path):
            return ""
    except NotPermitted:  # the error in front says so
        return ""
    if path.parts[:1] == (LISTS,):  # of a data set whose lists its owner makes
        return f"; it is neither {started_from()} nor beside the package{_obtain(data)}"
    return "" if path.is_absolute() else f"; this path starts {started_from()}: write the whole path, or start there"


def started_from() -> str:
    """Where relative paths start, for people."""
    return f"in {os.getcwd()}, where the command was started"


def _obtain(data: DataConfig) -> str:
    return f"\n    where to get it: {data.obtain}" if data.obtain else ""
