"""Everything that can be known wrong before a run, found before its first step and said at once."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from videoadapt import distributed, logger
from videoadapt.config.schema import AugmentConfig, Config, DataConfig, Holdout
from videoadapt.config.shipped import find_list
from videoadapt.data.batches import Schedule
from videoadapt.data.list_files import read_classes
from videoadapt.data.splits import NO_FILE, Splits, find_files, first_of_each_class, held_out, num_shared
from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError, DataListError, VideoAdaptError, at_key, why_unreadable
from videoadapt.registry import DATASETS
from videoadapt.rendering.files import NUM_FRAMES
from videoadapt.rendering.motions import MOTIONS
from videoadapt.runs.build import build_autoencoder, build_sampler, build_seeded_model
from videoadapt.weights.files import weights_path


def pretrain_problems(config: Config) -> list[str]:
    """What a config asks for that masked pre-training does not do, a line each."""
    if config.task != "pretrain":
        return []
    augment, adapter = config.data.augment, config.model.adapter
    names = [adapter["name"]] if isinstance(adapter, dict) else [part["name"] for part in adapter]
    problems = []
    if names != ["full"]:
        problems.append(
            f"model.adapter.name = {' + '.join(names)!r}: task pretrain trains the whole backbone; allowed: full"
        )
    if config.model.weights is not None:
        problems.append(
            f"model.weights = {config.model.weights}: task pretrain starts from new weights; set it to null"
        )
    if config.data.val is not None:
        problems.append("data.val: task pretrain has no labels to validate on; set it to null")
    if config.test.enable:
        problems.append("test.enable = true: task pretrain has no classes to test; set it to false")
    if not config.train.enable:
        problems.append("train.enable = false: leaves task pretrain nothing to do")
    for key in ("mixup", "cutmix", "label_smoothing", "erasing"):
        if getattr(augment, key):
            problems.append(f"data.augment.{key} = {getattr(augment, key)}: the target is the clip itself; set it to 0")
    return problems


def check_batch(config: Config, schedule: Schedule, ranks: int) -> int:
    """Return how many clips a rank needs in a micro-batch. Raises ConfigError for a batch size that cannot be."""
    parts = ranks * config.train.accumulate
    if schedule.batch_size % parts:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: not divisible by {ranks} ranks x "
            f"train.accumulate {config.train.accumulate}"
        )
    if not schedule.steps_per_epoch:
        source = "data.rendered" if config.data.rendered else "data.train"
        keys = {
            "data.val.holdout": isinstance(config.data.val, Holdout),
            "data.first_per_class": config.data.first_per_class,
        }
        left = " and ".join(key for key, is_set in keys.items() if is_set)
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: {source} has only {schedule.num_videos} videos"
            f"{' after ' if left else ''}{left}, so there is no full batch; choose a smaller one"
        )
    head = config.model.head
    local = schedule.batch_size * config.data.augment.repeated // parts
    batch_norm = config.task == "train" and head.batch_norm
    needed = 2 if batch_norm and not (head.sync and ranks > 1) else 1
    if local < needed:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: leaves one clip for a forward pass, and BatchNorm in the head needs "
            "two; choose a larger one, or set model.head.batch_norm false"
        )
    return needed


def rendered_problems(config: Config) -> list[str]:
    """What data.rendered cannot do of what a config asks for, a line each."""
    data, rendered = config.data, config.data.rendered
    if rendered is None:
        return []
    problems = []
    if data.train is not None or data.val is not None:
        problems.append("data.rendered: takes the place of data.train and data.val; set both to null")
    if data.first_per_class is not None:
        problems.append("data.first_per_class: rendered clips have no list; leave it null, and set clips_per_epoch")
    if rendered.motions == "any" and config.task == "train":
        problems.append("data.rendered.motions = any: has no classes to train; allowed: quickstart, trunk")
    sampler = build_sampler(data)
    if len(np.unique(sampler.test_indices(NUM_FRAMES, data.num_frames, num_clips=1))) < data.num_frames:
        problems.append(
            f"data.num_frames = {data.num_frames}: a rendered video is {NUM_FRAMES} frames long, in which data.sampling finds "
            "no such clip; choose fewer, or a smaller data.sampling.stride_frames"
        )
    if data.augment != AugmentConfig(mixup=data.augment.mixup, cutmix=data.augment.cutmix,
                                     label_smoothing=data.augment.label_smoothing):  # fmt: skip
        problems.append(
            "data.augment: rendered clips are cut by `crop: multi_scale`, once each; leave flip, rand_augment, erasing and "
            "repeated as they are"
        )
    return problems


def load_inputs(config: Config) -> Splits:
    """Load and check the lists, and see that the weights are there. Raises one ConfigError with all that is wrong."""
    problems = pretrain_problems(config) + rendered_problems(config)
    splits: Splits | None = None
    try:
        splits = load_splits(config)
    except VideoAdaptError as error:
        problems.append(str(error))
    weights = config.model.weights
    if weights is not None and not weights_path(weights).exists():
        where = f"\n    where to get it: {config.model.obtain}" if config.model.obtain else ""
        problems.append(f"model.weights = {weights}: there is no such file{where}")
    if problems or splits is None:
        raise ConfigError(problems)
    return splits


def check_model(config: Config, num_classes: int) -> None:
    """Raise ConfigError where the backbone, its adapters and the clips do not fit; allocates no weights, and reads none."""
    bare = config.model_copy(update={"model": config.model.model_copy(update={"weights": None})})
    with torch.device("meta"):
        if config.task == "pretrain":
            build_autoencoder(bare)
        else:
            build_seeded_model(bare, num_classes)


def load_splits(config: Config) -> Splits:
    """Load the lists that the run needs. Raises DataListError with all problems at once.

    A list is needed when `train.enable` or `test.enable` asks for it.
    """
    data = config.data
    problems: list[str] = []
    with at_key("data.dataset"):
        dataset = DATASETS.build(data.dataset)
    val_list = data.val if isinstance(data.val, str) and config.train.enable else None
    needed = {
        "train": config.train.enable and data.rendered is None,
        "val": val_list is not None,
        "test": config.test.enable,
    }
    with distributed.main_process_first():
        lists = {
            split: _load_list(dataset, split, getattr(data, split), data, problems)
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
        files[split] = find_files(videos)
        problems += _missing_files(split, videos, files[split], limits[split], data)
    if problems:
        raise DataListError("\n".join(problems))
    if isinstance(data.val, Holdout) and config.train.enable:
        held_N = held_out(lists["train"], data.val.holdout, data.val.group, config.seed)
        lists["train"], lists["val"] = lists["train"].select(~held_N), lists["train"].select(held_N)
        files["train"], files["val"] = files["train"][~held_N], files["train"][held_N]
    if data.first_per_class is not None:
        few_N = first_of_each_class(lists["train"], data.first_per_class)
        lists["train"], files["train"] = lists["train"].select(few_N), files["train"][few_N]
    _say_overlaps(files)
    num_val_in_test = num_shared(files["val"], files["test"])
    return Splits(lists["train"], lists["val"], lists["test"], class_names, num_val_in_test)


def _load_list(dataset: Any, split: str, source: str | None, data: DataConfig, problems: list[str]) -> VideoRows:
    nothing = VideoRows(data.root, ())
    if source is None:
        problems.append(f"data.{split}: is not set; name a list of videos, or set {split}.enable false")
        return nothing
    try:
        videos: VideoRows = dataset.load(str(find_list(source)), data.root)
    except DataListError as error:
        problems.append(f"data.{split} = {error}{_obtain(data)}")
        return nothing
    if split != "train":
        first: dict[str, int] = {}
        doubled = [row for row, name in enumerate(videos.ids()) if first.setdefault(name, row) != row]
        if doubled:
            again = videos[doubled[0]]
            problems.append(
                f"data.{split} = {source}: {len(doubled)} videos stand there twice, first {again.id!r} (lines "
                f"{videos[first[again.id]].line} and {again.line}); take one out"
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
        problems.append(f"data.classes = {error}{_obtain(data)}")
        return []


def _wrong_labels(split: str, videos: VideoRows, num_classes: int) -> list[str]:
    wrong = np.flatnonzero(videos.labels_N >= num_classes)
    if not len(wrong):
        return []
    first = videos[wrong[0]]
    return [
        f"data.{split}: {len(wrong)} labels are outside 0..{num_classes - 1} (data.classes names {num_classes} classes), "
        f"first {first.label} of {first.id!r} (line {first.line}); mend the list or data.classes"
    ]


def _missing_files(split: str, videos: VideoRows, files_N: NDArray[Any], limit: float, data: DataConfig) -> list[str]:
    missing = np.flatnonzero(files_N["inode"] == NO_FILE)
    if not len(missing):
        return []
    first = videos[missing[0]]
    said = (
        f"data.root = {data.root}: {len(missing)} of the {len(videos)} videos of data.{split} are not there, "
        f"first {first.path} (line {first.line}): {why_unreadable(first.path)}"
    )
    if len(missing) <= limit * len(videos):
        logger.warning("%s; within the limit of %g, so the run goes on without them", said, limit)
        return []
    return [said + _obtain(data)]


def _obtain(data: DataConfig) -> str:
    return f"\n    where to get it: {data.obtain}" if data.obtain else ""


def _say_overlaps(files: dict[str, NDArray[Any]]) -> None:
    for one, other, harm in (
        ("train", "test", "the test accuracy will be too high"),
        ("val", "test", "`best` is then chosen on the test set, and its accuracy is too high"),
        ("train", "val", "`best` will prefer the most overfitted"),
    ):
        if shared := num_shared(files[one], files[other]):
            logger.warning("data.%s and data.%s share %d videos: %s", one, other, shared, harm)
