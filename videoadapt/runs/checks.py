"""What is wrong with the settings of a run among themselves: found before its files are looked at, one line each.

Every line names the key to change, its value, and what is allowed.
"""

from collections import Counter

import numpy as np

from videoadapt.config.schema import AugmentConfig, Config, DataConfig, Holdout
from videoadapt.errors import ConfigError, counted
from videoadapt.models.classifier import Classifier
from videoadapt.registry import LOSSES
from videoadapt.rendering.clips import Film
from videoadapt.rendering.files import HEIGHT_PX, NUM_FRAMES
from videoadapt.runs.build_data import build_sampler
from videoadapt.runs.folder import newest_checkpoint
from videoadapt.runs.frame_size import resize_problems
from videoadapt.runs.test_lists import list_problems
from videoadapt.runs.training_checks import training_problems
from videoadapt.video.corruptions import chosen_kinds
from videoadapt.video.rand_augment import RandAugment


def setting_problems(config: Config) -> list[str]:
    """Everything that is wrong with a config alone, whatever the files and the machine."""
    problems = [
        *_pretrain_problems(config),
        *_rendered_problems(config),
        *_clip_problems(config),
        *resize_problems(config),
    ]
    problems += _logger_problems(config)
    problems += _label_problems(config)
    problems += _corruption_problems(config)
    problems += list_problems(config)
    if config.train.enable:
        problems += training_problems(config)
    elif not config.test.enable and config.task == "train":
        problems.append("train.enable and test.enable are both false: leaves nothing to do; set one of them true")
    return problems


def _corruption_problems(config: Config) -> list[str]:
    try:
        chosen_kinds(config.test.corruptions)
    except ConfigError as error:
        return [f"test.corruptions = {config.test.corruptions}: {error}"]
    return []


def batch_problems(config: Config, num_videos: int, ranks: int) -> list[str]:
    """What is wrong with the batch size for so many training videos, shared by so many processes."""
    size, accumulate, augment = config.train.batch_size, config.train.accumulate, config.data.augment
    if size % (ranks * accumulate):
        return [f"train.batch_size = {size}: not divisible by {counted(ranks, 'rank')} x train.accumulate {accumulate}"]
    if size > num_videos:
        source = "data.rendered" if config.data.rendered else "data.train"
        keys = {
            "data.val.holdout": isinstance(config.data.val, Holdout),
            "data.first_per_class": config.data.first_per_class,
            "data.few_per_class": config.data.few_per_class,
        }
        left = " and ".join(key for key, is_set in keys.items() if is_set)
        return [
            f"train.batch_size = {size}: {source} has only {counted(num_videos, 'video')}{' after ' if left else ''}{left}, so "
            "there is no full batch; choose a smaller one"
        ]
    clips = size * augment.repeated // (ranks * accumulate)
    if clips < min_clips(config, ranks):
        return [
            f"train.batch_size = {size}: leaves one clip for a forward pass, and BatchNorm in the head needs two; choose a "
            "larger one, or set model.head.batch_norm false"
        ]
    mixed = " and ".join(f"data.augment.{key}" for key in ("mixup", "cutmix") if getattr(augment, key))
    if clips < 2 and mixed:
        return [
            f"train.batch_size = {size}: leaves one clip for a forward pass, which {mixed} would mix with itself; choose a "
            f"larger one, or set {mixed} to 0"
        ]
    return []


def min_clips(config: Config, ranks: int) -> int:
    """How many clips a rank needs in a micro-batch: BatchNorm of its own in the head needs two."""
    head = config.model.head
    own_statistics = config.task == "train" and head.batch_norm and not (head.sync and ranks > 1)
    return 2 if own_statistics else 1


def _label_problems(config: Config) -> list[str]:
    """What does not go with as many labels a video as `data.labels` says."""
    data, train, several = config.data, config.train, config.data.labels == "multi"
    if config.task == "pretrain":  # which looks at no label
        return []
    problems = []
    if train.loss is not None and (of := LOSSES.get(train.loss["name"]).labels) != data.labels:
        other = [name for name in LOSSES.names() if LOSSES.get(name).labels == data.labels]
        problems.append(
            f"train.loss.name = {train.loss['name']}: is of data.labels {of}, which is {data.labels}; allowed: "
            f"{', '.join(other)}"
        )
    metrics = ("mAP", "loss") if several else ("top1", "loss")
    if train.stop_early is not None and train.stop_early.metric not in metrics:
        problems.append(
            f"train.stop_early.metric = {train.stop_early.metric}: with data.labels {data.labels}, allowed: "
            f"{', '.join(metrics)}"
        )
    if several:
        problems += [
            f"{key} = {value}: is for one label a video, and data.labels is multi; set it to {off}{instead}"
            for key, value, off, instead in (
                ("data.rendered", data.rendered and data.rendered.motions, "null", ""),
                ("data.balance", data.balance, 0, ", or weigh classes with train.class_weights"),
                ("train.logit_adjustment", train.logit_adjustment, 0, ", or weigh classes with train.class_weights"),
            )
            if value
        ]
    return problems


def _pretrain_problems(config: Config) -> list[str]:
    """What a config asks for that masked pre-training does not do."""
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
        problems.append("train.enable = false: leaves task pretrain nothing to do, as it has no classes to test")
    if config.train.loss is not None:
        problems.append(f"train.loss.name = {config.train.loss['name']}: task pretrain has its own; set it to null")
    for key in ("mixup", "cutmix", "label_smoothing", "erasing", "noise"):
        if getattr(augment, key):
            problems.append(f"data.augment.{key} = {getattr(augment, key)}: the target is the clip itself; set it to 0")
    return problems


def _rendered_problems(config: Config) -> list[str]:
    """What data.rendered cannot do of what a config asks for."""
    data, rendered = config.data, config.data.rendered
    if rendered is None:
        return []
    problems = []
    if data.train is not None or data.val is not None:
        problems.append("data.rendered: takes the place of data.train and data.val; set both to null")
    if data.balance:
        problems.append(f"data.balance = {data.balance}: rendered clips are of all classes equally often; set it to 0")
    problems += [
        f"data.{key}: rendered clips have no list; leave it null, and set clips_per_epoch"
        for key in ("first_per_class", "few_per_class")
        if getattr(data, key) is not None
    ]
    if config.train.enable:  # a test alone may look at its list through JPEG
        problems += [
            f"data.{key} = {value}: clips of data.rendered are seen as they are, not through JPEG; set it to {off or 'null'}"
            for key, value, off in (
                ("jpeg_quality", data.jpeg_quality, None),
                ("jpeg_decoding", data.jpeg_decoding, "processor"),
            )
            if value != off
        ]
        if data.short_side_px is not None and data.short_side_px < HEIGHT_PX:
            problems.append(
                f"data.short_side_px = {data.short_side_px}: clips of data.rendered are never made smaller; set it to null"
            )
    if rendered.motions == "any" and config.task == "train":
        problems.append("data.rendered.motions = any: has no classes to train; allowed: quickstart, trunk")
    sampler = build_sampler(data)
    indices_VT = sampler.test_clips(Film(), data.num_frames, min(sampler.num_test_clips or (1,)))
    if len(np.unique(indices_VT[0])) < data.num_frames:
        problems.append(
            f"data.num_frames = {data.num_frames}: a rendered video is {NUM_FRAMES} frames long, in which data.sampling finds "
            "no such clip; choose fewer, or smaller distances in data.sampling"
        )
    if data.augment != AugmentConfig(mixup=data.augment.mixup, cutmix=data.augment.cutmix,
                                     label_smoothing=data.augment.label_smoothing):  # fmt: skip
        problems.append(
            "data.augment: rendered clips are cut by `crop: multi_scale`, once each; leave flip, rand_augment, erasing, "
            "noise and repeated as they are"
        )
    return problems


def _clip_problems(config: Config) -> list[str]:
    """What is wrong with how clips are taken from a video, for testing as well: that comes last and would be found last."""
    data, problems = config.data, []
    if data.augment.rand_augment is not None:
        try:
            RandAugment(data.augment.rand_augment)
        except ConfigError as error:
            problems.append(f"data.augment.rand_augment: {error}")
    problems += _jpeg_problems(data)
    allowed = build_sampler(data).num_test_clips
    if allowed is None:
        return problems
    numbers, name = " or ".join(map(str, allowed)), data.sampling["name"]
    if config.test.enable and config.test.clips not in allowed:
        problems.append(
            f"test.clips = {config.test.clips}: data.sampling {name} takes {numbers} from a video; choose that, or another "
            "data.sampling.name"
        )
    clips = config.train.validate_clips
    if config.train.enable and data.val is not None and clips not in allowed:
        problems.append(
            f"train.validate_clips = {clips}: data.sampling {name} takes {numbers} from a video; choose that, or set data.val "
            "to null"
        )
    return problems


def _jpeg_problems(data: DataConfig) -> list[str]:
    """What keeps training clips from being decoded on the device."""
    if data.jpeg_decoding == "processor" or data.rendered is not None:  # see _rendered_problems
        return []
    head = f"data.jpeg_decoding = {data.jpeg_decoding}: "
    problems = []
    if data.jpeg_quality is None:
        problems.append(
            f"{head}is for frames in JPEG; set data.jpeg_quality, such as 95, or data.jpeg_decoding processor"
        )
    problems += [
        f"{head}does not go with {key} = {value}, which the processor does; set it to {off}, or data.jpeg_decoding processor"
        for key, value, off in (
            ("data.augment.rand_augment", data.augment.rand_augment or "null", "null"),
            ("data.augment.noise", data.augment.noise, 0),
            ("data.resize", data.resize, "crop"),
        )
        if value != off
    ]
    return problems


def _logger_problems(config: Config) -> list[str]:
    """Which loggers are named twice: the files of both would be the same."""
    names = Counter(spec["name"] for spec in config.train.loggers)
    return [f"train.loggers: names {name} twice; take one of them out" for name, n in names.items() if n > 1]


def nothing_to_test(config: Config, model: Classifier, num_classes: int) -> str:
    """Say that there is neither a checkpoint nor a loaded head to test, and what to do; "" where there is one."""
    if newest_checkpoint(config.output) is not None or model.head_loaded:
        return ""
    return (
        f"output = {config.output}: holds no checkpoint to test, and model.weights = {config.model.weights} has no head for "
        f"{num_classes} classes; train first (train.enable true) or name a fine-tuned file"
    )
