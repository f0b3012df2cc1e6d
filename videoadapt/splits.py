"""Train, validation and test lists with their class names, checked before anything is decoded."""

import hashlib
import os
import re
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import distributed
from videoadapt.config import Config, DataConfig, Holdout
from videoadapt.datasets.video_list import read_classes
from videoadapt.errors import DataListError, why_unreadable
from videoadapt.log import logger
from videoadapt.motions import MOTIONS
from videoadapt.registry import DATASETS
from videoadapt.video_rows import VideoRows

FILE = np.dtype([("device", np.uint64), ("inode", np.uint64)])
NO_FILE = 2**64 - 1

HASHED_FILES = 32


@dataclass(frozen=True)
class Splits:
    """The lists a run works on; `val` may be empty. `class_names[label]` names a class.

    `num_val_in_test` counts the files that are in both the validation and the test list.
    """

    train: VideoRows
    val: VideoRows
    test: VideoRows
    class_names: list[str]
    num_val_in_test: int = 0

    def fingerprint(self, videos: VideoRows) -> str:
        """sha256 over the rows of a list, so that two results can be told to come from the same one."""
        digest = hashlib.sha256()
        for name, label in zip(videos.ids(), videos.labels_N, strict=True):
            digest.update(f"{name} {label}\n".encode())
        return digest.hexdigest()

    @staticmethod
    def files_fingerprint(videos: VideoRows) -> str:
        """sha256 over the size of every file and the content of HASHED_FILES of them, evenly spread over the list.

        Tells other copies of a data set apart (re-encoded, trimmed, partly absent) at the cost of one look at each file.
        """
        digest = hashlib.sha256()
        step = max(1, len(videos) // HASHED_FILES)
        for row, video in enumerate(videos):
            try:
                size = video.path.stat().st_size
                digest.update(f"{video.id} {size}\n".encode())
                if row % step == 0 and row // step < HASHED_FILES:
                    with video.path.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError:  # absent or unreadable, as far as the run allows it: that is in the fingerprint, too
                digest.update(f"{video.id} unreadable\n".encode())
        return digest.hexdigest()


def load_splits(config: Config) -> Splits:
    """Load the lists that the run needs. Raises DataListError with all problems at once.

    A list is needed when `train.enable` or `test.enable` asks for it.
    """
    data = config.data
    problems: list[str] = []
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
        files[split] = _find_files(videos)
        problems += _missing_files(split, videos, files[split], limits[split], data)
    if problems:
        raise DataListError("\n".join(problems))
    if isinstance(data.val, Holdout) and config.train.enable:
        held_N = held_out(lists["train"], data.val, config.seed)
        lists["train"], lists["val"] = lists["train"].select(~held_N), lists["train"].select(held_N)
        files["train"], files["val"] = files["train"][~held_N], files["train"][held_N]
    if data.first_per_class is not None:
        few_N = first_of_each_class(lists["train"], data.first_per_class)
        lists["train"], files["train"] = lists["train"].select(few_N), files["train"][few_N]
    _say_overlaps(files)
    num_val_in_test = _num_shared(files["val"], files["test"])
    return Splits(lists["train"], lists["val"], lists["test"], class_names, num_val_in_test)


def held_out(videos: VideoRows, holdout: Holdout, seed: int, key: str = "data.val") -> NDArray[np.bool_]:
    """The rows of a training list that are held out for validation, as a mask (N,).

    Groups are never divided, every class keeps at least half. Groups are taken in an order given by a hash of seed and
    group name, as long as no class then gives more than its share (at least one video): the same list always divides in
    the same way. `key` names the setting in the DataListError that is raised when the group's regex does not match a
    video, or no group is small enough.
    """
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(videos.ids()):
        found = re.search(holdout.group, name) if holdout.group else None
        if holdout.group and not found:
            raise DataListError(f"{key}: group {holdout.group!r} does not match {name!r}")
        groups.setdefault((found.group(min(1, found.re.groups)) if found else name), []).append(row)
    labels = videos.labels_N.tolist()
    room = {label: min(max(1, round(holdout.holdout * n)), n // 2) for label, n in Counter(labels).items()}
    held_N = np.zeros(len(videos), dtype=np.bool_)
    for name in sorted(groups, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).digest()):
        wanted = Counter(labels[row] for row in groups[name])
        if all(n <= room[label] for label, n in wanted.items()):
            held_N[groups[name]] = True
            for label, n in wanted.items():
                room[label] -= n
    if not held_N.any():
        raise DataListError(
            f"{key}: no group is small enough to hold out {holdout.holdout:g} of {len(videos)} videos; raise the share "
            "or choose a finer group"
        )
    return held_N


def first_of_each_class(videos: VideoRows, number: int) -> NDArray[np.bool_]:
    """The first `number` rows of every class, as a mask (N,); all of a class that has no more."""
    first_N = np.zeros(len(videos), dtype=np.bool_)
    for label in np.unique(videos.labels_N):
        first_N[np.flatnonzero(videos.labels_N == label)[:number]] = True
    return first_N


def _load_list(dataset: Any, split: str, source: str | None, data: DataConfig, problems: list[str]) -> VideoRows:
    nothing = VideoRows(data.root, ())
    if source is None:
        problems.append(f"data.{split}: is not set; name a list of videos, or set {split}.enable false")
        return nothing
    try:
        videos: VideoRows = dataset.load(source, data.root)
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
        return read_classes(Path(data.classes))
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


def _find_files(videos: VideoRows) -> NDArray[Any]:
    """(device, inode) of every file (N,), NO_FILE where there is none: two names of one file are the same file."""
    files_N = np.full(len(videos), NO_FILE, dtype=FILE)
    for row, path in enumerate(videos.paths()):
        with suppress(OSError, ValueError):  # ValueError: a null byte in the name
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                files_N[row] = status.st_dev, status.st_ino
    return files_N


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


def _num_shared(files_N: NDArray[Any], others_M: NDArray[Any]) -> int:
    alike_N, alike_M = (np.isin(a["inode"], b["inode"]) for a, b in ((files_N, others_M), (others_M, files_N)))
    return len(set(files_N[alike_N].tolist()) & set(others_M[alike_M].tolist()) - {(NO_FILE, NO_FILE)})


def _say_overlaps(files: dict[str, NDArray[Any]]) -> None:
    for one, other, harm in (
        ("train", "test", "the test accuracy will be too high"),
        ("val", "test", "`best` is then chosen on the test set, and its accuracy is too high"),
        ("train", "val", "`best` will prefer the most overfitted"),
    ):
        if shared := _num_shared(files[one], files[other]):
            logger.warning("data.%s and data.%s share %d videos: %s", one, other, shared, harm)
