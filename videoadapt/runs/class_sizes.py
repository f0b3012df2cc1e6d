"""How many examples the classes of a training have, what cannot be done about it, and a word where they differ much."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from videoadapt import logger
from videoadapt.config.schema import Config
from videoadapt.data.balance import clips_of_each_class
from videoadapt.data.videos import VideoRows

MUCH = 5  # times as many videos as another class: below, no setting alters the result by much


def clips_per_class(config: Config, videos: VideoRows, num_classes: int) -> NDArray[np.float64]:
    """How many clips of each class (K,) an epoch has on average, after `data.balance`; rendered clips are of all alike."""
    if config.data.rendered is not None:
        return np.full(num_classes, config.data.rendered.clips_per_epoch / num_classes)
    return clips_of_each_class(videos.videos_of_each_class(num_classes), config.data.balance)


def class_problems(config: Config, videos: VideoRows, class_names: Sequence[str]) -> list[str]:
    """Where weights or shifts of classes do not fit these training videos, one line for each key."""
    if config.task == "pretrain":
        return [f"{key} = {value}: task pretrain has no classes; set it to {off}" for key, value, off in _set(config)]
    weights, problems = config.train.class_weights, []
    if isinstance(weights, list) and len(weights) != len(class_names):
        problems.append(
            f"train.class_weights: has {len(weights)} weights for {len(class_names)} classes; give one for each, in the order "
            "of data.classes"
        )
    empty = np.flatnonzero(clips_per_class(config, videos, len(class_names)) == 0)
    if len(empty):
        problems += [
            f"{key} = {value}: class {class_names[empty[0]]!r} has no training video{_and_others(len(empty) - 1)}, and one "
            f"divided by none is no number; add videos, take it out of data.classes, or set {key} to {off}"
            for key, value, off in _set(config)
            if key.startswith("train.") and not isinstance(value, list)
        ]
    return problems


def say_unequal(config: Config, videos: VideoRows, class_names: Sequence[str]) -> None:
    """Say in one line that a class has more than `MUCH` times the videos of another, unless a setting says what to do."""
    videos_K = videos.videos_of_each_class(len(class_names))
    if config.task == "pretrain" or not len(videos) or list(_set(config)):
        return
    most, least = int(videos_K.argmax()), int(np.where(videos_K > 0, videos_K, len(videos)).argmin())
    if videos_K[most] > MUCH * videos_K[least] and videos.sets is not None:
        logger.warning(
            "data.train: class %r has %d videos and %r only %d; train.class_weights inverse makes up for it in the loss",
            class_names[most], videos_K[most], class_names[least], videos_K[least],
        )  # fmt: skip
    elif videos_K[most] > MUCH * videos_K[least]:
        logger.warning(
            "data.train: class %r has %d videos and %r only %d: rare classes will be found less often; train.class_weights "
            "inverse makes up for it in the loss (so does train.logit_adjustment 1), data.balance 1 by drawing them more often",
            class_names[most], videos_K[most], class_names[least], videos_K[least],
        )  # fmt: skip


def _set(config: Config) -> list[tuple[str, object, str]]:
    """Key, value and the word that takes it back, of each setting for unequal classes that is in use."""
    data, train = config.data, config.train
    found = [
        ("data.balance", data.balance, 0.0),
        ("train.class_weights", train.class_weights, None),
        ("train.logit_adjustment", train.logit_adjustment, 0.0),
    ]
    return [(key, value, "null" if off is None else "0") for key, value, off in found if value != off]


def _and_others(number: int) -> str:
    return f" (nor have {number} others)" if number else ""
