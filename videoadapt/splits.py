"""Train, validation and test lists with their class names, checked before anything is decoded."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videoadapt import distributed
from videoadapt.config import Config, DataConfig, Holdout
from videoadapt.datasets.video_list import read_classes
from videoadapt.errors import DataListError
from videoadapt.log import logger
from videoadapt.registry import DATASETS
from videoadapt.structures import Video

HASHED_FILES = 32


@dataclass(frozen=True)
class Splits:
    """The lists a run works on; `val` may be empty. `class_names[label]` names a class."""

    train: list[Video]
    val: list[Video]
    test: list[Video]
    class_names: list[str]

    def fingerprint(self, videos: Sequence[Video]) -> str:
        """sha256 over the rows of a list, so that two results can be told to come from the same one."""
        return hashlib.sha256("".join(f"{v.id} {v.label}\n" for v in videos).encode()).hexdigest()

    @staticmethod
    def files_fingerprint(videos: Sequence[Video]) -> str:
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

    @property
    def num_val_in_test(self) -> int:
        """Videos that are in both the validation and the test list."""
        return len({v.id for v in self.val} & {v.id for v in self.test})


def load_splits(config: Config) -> Splits:
    """Load the lists that the run needs. Raises DataListError with all problems at once.

    A list is needed when `train.enable` or `test.enable` asks for it.
    """
    data = config.data
    problems: list[str] = []
    dataset = DATASETS.build(data.dataset)
    lists: dict[str, list[Video]] = {}
    with distributed.main_process_first():
        for split, needed in (("train", config.train.enable), ("test", config.test.enable)):
            lists[split] = _load_list(dataset, split, getattr(data, split), data, problems) if needed else []
        val_list = data.val if isinstance(data.val, str) and config.train.enable else None
        lists["val"] = _load_list(dataset, "val", val_list, data, problems) if val_list else []
    class_names = _class_names(dataset, data, problems)
    if class_names:
        for split, videos in lists.items():
            problems += _wrong_labels(split, videos, len(class_names))
    limits = {"train": data.max_unreadable, "val": 0.0, "test": config.test.max_unreadable}
    for split, videos in lists.items():
        problems += _missing_files(split, videos, limits[split], data)
    if problems:
        raise DataListError("\n".join(problems))
    if isinstance(data.val, Holdout) and config.train.enable:
        lists["train"], lists["val"] = hold_out(lists["train"], data.val, config.seed)
    splits = Splits(lists["train"], lists["val"], lists["test"], class_names)
    _say_overlaps(splits)
    return splits


def hold_out(
    videos: Sequence[Video], holdout: Holdout, seed: int, key: str = "data.val"
) -> tuple[list[Video], list[Video]]:
    """Divide a training list into (train, val); groups are never divided, every class keeps at least half.

    Groups are taken in an order given by a hash of seed and group name, as long as no class then gives more than its
    share (at least one video) to validation: the same videos always divide in the same way. `key` names the setting in
    the DataListError that is raised when the group's regex does not match a video, or no group is small enough.
    """
    groups: dict[str, list[Video]] = {}
    for video in videos:
        found = re.search(holdout.group, video.id) if holdout.group else None
        if holdout.group and not found:
            raise DataListError(f"{key}: group {holdout.group!r} does not match {video.id!r}")
        groups.setdefault((found.group(min(1, found.re.groups)) if found else video.id), []).append(video)
    in_class = Counter(video.label for video in videos)
    room = {label: min(max(1, round(holdout.holdout * n)), n // 2) for label, n in in_class.items()}
    held: set[str] = set()
    for name in sorted(groups, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).digest()):
        wanted = Counter(video.label for video in groups[name])
        if all(n <= room[label] for label, n in wanted.items()):
            held.add(name)
            room = {label: left - wanted[label] for label, left in room.items()}
    val = [video for name in held for video in groups[name]]
    if not val:
        raise DataListError(
            f"{key}: no group is small enough to hold out {holdout.holdout:g} of {len(videos)} videos; raise the share "
            "or choose a finer group"
        )
    ids = {video.id for video in val}
    return [v for v in videos if v.id not in ids], [v for v in videos if v.id in ids]


def _load_list(dataset: object, split: str, source: str | None, data: DataConfig, problems: list[str]) -> list[Video]:
    if source is None:
        problems.append(f"data.{split}: is not set; name a list of videos, or set {split}.enable false")
        return []
    try:
        videos: list[Video] = dataset.load(source, data.root)  # type: ignore[attr-defined]
    except DataListError as error:
        problems.append(f"data.{split} = {error}{_obtain(data)}")
        return []
    doubled = [name for name, n in Counter(video.id for video in videos).items() if n > 1]
    if doubled and split != "train":
        problems.append(f"data.{split} = {source}: {len(doubled)} videos stand there twice, first {doubled[0]!r}")
    return videos


def _class_names(dataset: object, data: DataConfig, problems: list[str]) -> list[str]:
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


def _wrong_labels(split: str, videos: Sequence[Video], num_classes: int) -> list[str]:
    wrong = [video for video in videos if video.label >= num_classes]
    if not wrong:
        return []
    return [
        f"data.{split}: {len(wrong)} labels are outside 0..{num_classes - 1} (data.classes names {num_classes} classes), "
        f"first {wrong[0].label} of {wrong[0].id!r}"
    ]


def _missing_files(split: str, videos: Sequence[Video], limit: float, data: DataConfig) -> list[str]:
    missing = [video for video in videos if not video.path.is_file()]
    if not missing or len(missing) <= limit * len(videos):
        return []
    return [
        f"data.root = {data.root}: {len(missing)} of the {len(videos)} videos of data.{split} are not there, "
        f"first {missing[0].path}{_obtain(data)}"
    ]


def _obtain(data: DataConfig) -> str:
    return f"\n    where to get it: {data.obtain}" if data.obtain else ""


def _say_overlaps(splits: Splits) -> None:
    shared = len({v.id for v in splits.train} & {v.id for v in splits.test})
    if shared:
        logger.warning("data.train and data.test share %d videos: the test accuracy will be too high", shared)
    if splits.num_val_in_test:
        logger.warning(
            "data.val and data.test share %d videos: `best` is then chosen on the test set, and its accuracy is too high",
            splits.num_val_in_test,
        )
    shared = len({v.id for v in splits.train} & {v.id for v in splits.val})
    if shared:
        logger.warning("data.train and data.val share %d videos: `best` will prefer the most overfitted", shared)
