"""`data.test` as one list or several: the first is the run's own, whose numbers are those of results.json."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from videoadapt import logger
from videoadapt.config.schema import Config, DataConfig, TestList
from videoadapt.config.shipped import find_list
from videoadapt.data.folds import group_names
from videoadapt.data.list_files import read_classes
from videoadapt.data.shared_classes import OtherList, share
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError, counted


def own_list(data: DataConfig) -> TestList | None:
    """The first list, or the only one; None without."""
    if isinstance(data.test, str):
        return TestList(list=data.test)
    return next(iter(data.test.values())) if data.test else None


def other_lists(data: DataConfig) -> dict[str, TestList]:
    """The lists after the first, by their names."""
    return dict(list(data.test.items())[1:]) if isinstance(data.test, dict) else {}


def data_of(data: DataConfig, asked: TestList) -> DataConfig:
    """Where a list's videos are, and which names its labels have."""
    changes = {"root": asked.root or data.root, "classes": asked.classes or data.classes, "val": None, "test": None}
    return data.model_copy(update=changes)


def list_problems(config: Config) -> list[str]:
    """What of `data.test` and `test.calibrate` does not go together."""
    data = config.data
    own, name = own_list(data), next(iter(data.test)) if isinstance(data.test, dict) and data.test else ""
    problems = [
        f"data.test.{name}.{key} = {getattr(own, key)}: the first list is the run's own, below data.root with its classes; "
        "give it to a later one"
        for key in ("root", "classes", "shared")
        if own is not None and getattr(own, key) is not None
    ]
    for other, asked in other_lists(data).items():
        if (asked.classes is None) != (asked.shared is None):
            problems.append(
                f"data.test.{other}: classes (the names of its labels) and shared (theirs, ours) go together"
            )
        if asked.shared is not None and data.labels == "multi":
            problems.append(f"data.test.{other}.shared: needs data.labels single")
    if config.test.calibrate:
        needed = {"data.val": data.val is not None, "data.labels single": data.labels == "single"}
        problems += [f"test.calibrate = true: needs {what}" for what, is_there in needed.items() if not is_there]
    return problems


def under_our_labels(name: str, asked: TestList, videos: VideoRows, class_names: Sequence[str]) -> OtherList:
    """The videos of a list as the model labels them. Raises DataListError where the list, its classes or pairs are wrong."""
    if asked.group is not None:
        group_names(videos.ids(), asked.group, f"data.test.{name}.group")
    if asked.shared is None or asked.classes is None:
        return OtherList(videos, asked.group)
    theirs = read_classes(find_list(asked.classes))
    if wrong := np.flatnonzero(videos.highest_label_N() >= len(theirs)).tolist():
        video = videos[wrong[0]]
        raise DataListError(
            f"data.test.{name}: label {video.label} of {video.id!r} (line {video.line}) is outside 0..{len(theirs) - 1}; "
            f"{asked.classes} names {counted(len(theirs), 'class')}"
        )
    found = share(videos, theirs, class_names, Path(find_list(asked.shared)))
    logger.info(
        "data.test.%s: %d of %d videos are of %d shared classes; left out: %d videos of %d classes that have no partner",
        name, len(found.videos), len(videos), len(found.shared or ()), found.num_left_out, len(found.classes_left_out),
    )  # fmt: skip
    if not len(found.videos):
        raise DataListError(
            f"data.test.{name}: none of its {counted(len(videos), 'video')} is of a shared class; look at {asked.shared}"
        )
    return replace(found, group=asked.group)
