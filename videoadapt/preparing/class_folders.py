"""A folder a class, as people keep their videos: to train, validation and test lists and class names."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videoadapt.data.list_files import check_name, write_list
from videoadapt.data.splits import held_out
from videoadapt.data.structures import Video
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError
from videoadapt.files import write_text

VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob",
    ".webm", ".wmv",
)  # fmt: skip


@dataclass(frozen=True)
class ClassFolders:
    """What lies below a folder: all videos, the class names (a label is a row), and files that are no videos."""

    videos: list[Video]
    class_names: list[str]
    others: list[str]


def read_class_folders(root: Path) -> ClassFolders:
    """Find the videos of every class folder in `root`, at any depth, in the order of their names.

    Classes are sorted by name; hidden files and folders are passed over. Raises DataListError when there are fewer
    than two classes, one of them holds no video, or a name cannot stand in a list.
    """
    if not os.path.isdir(root):
        raise DataListError(f"{root}: is no folder; expected one with a folder of videos for each class")
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        raise DataListError(f"{root}: holds {len(names)} folders; expected one for each class, at least two")
    videos: list[Video] = []
    others: list[str] = []
    for label, name in enumerate(names):
        found = []
        for folder, below, files in os.walk(root / name):
            below[:] = [entry for entry in below if not entry.startswith(".")]
            for file in files:
                path = Path(folder) / file
                if file.startswith("."):
                    continue
                if path.suffix.lower() in VIDEO_SUFFIXES:
                    found.append(Video(path.relative_to(root).as_posix(), path, label))
                else:
                    others.append(path.relative_to(root).as_posix())
        if not found:
            raise DataListError(f"{root / name}: holds no video; remove the folder, or add files ({_suffixes()})")
        for video in found:
            check_name(video.id)
        videos += sorted(found)
    return ClassFolders(videos, names, sorted(others))


def divide(videos: Sequence[Video], val: float, test: float, group: str | None, seed: int) -> dict[str, list[Video]]:
    """Divide into train, val and test by a hash of seed and name, class by class.

    `val` and `test` are shares of all videos. `group` is a regex: videos in which it finds the same text stay together
    (the first bracket, if it has one). Raises DataListError for shares that leave less than half to train on, and when
    a share cannot be taken because no group is small enough.
    """
    if min(val, test) < 0 or val + test > 0.5:
        raise DataListError(f"--val {val} --test {test}: allowed: 0 or more, together at most 0.5")
    try:
        re.compile(group or "")
    except re.error as error:
        raise DataListError(f"--group {group!r}: is no regular expression: {error}") from error
    lists: dict[str, list[Video]] = {"train": list(videos), "val": [], "test": []}
    for split, share in (("test", test), ("val", val / (1 - test))):
        if share:
            rows = VideoRows(Path(), ((video.id, video.label, 0) for video in lists["train"]))
            held_N = held_out(rows, share, group, seed, f"--{split}")
            lists[split] = [video for video, held in zip(lists["train"], held_N, strict=True) if held]
            lists["train"] = [video for video, held in zip(lists["train"], held_N, strict=True) if not held]
    return lists


def write_lists(folder: Path, lists: Mapping[str, Sequence[Video]], class_names: Sequence[str]) -> None:
    """Write `<split>.csv` of every list that is not empty, and classes.txt, into `folder`."""
    for name in class_names:
        if not name.strip() or len(name.splitlines()) != 1:
            raise DataListError(f"class {name!r}: rename it; a class file cannot hold empty names or line breaks")
    for split, videos in lists.items():
        if videos:
            write_list(folder / f"{split}.csv", videos)
        else:
            (folder / f"{split}.csv").unlink(missing_ok=True)  # of an earlier division, which this one replaces
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in class_names))


def classes_without(lists: Mapping[str, Sequence[Video]], class_names: Sequence[str]) -> dict[str, list[str]]:
    """For every list that is not empty, the classes of which it holds no video."""
    missing: dict[str, list[str]] = defaultdict(list)
    for split, videos in lists.items():
        counts = Counter(video.label for video in videos)
        if videos:
            missing[split] = [name for label, name in enumerate(class_names) if not counts[label]]
    return {split: names for split, names in missing.items() if names}


def _suffixes() -> str:
    return ", ".join(sorted(VIDEO_SUFFIXES))
