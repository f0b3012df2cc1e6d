"""Class folders divided into train, validation and test lists, without copies, and written as such."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videoadapt.data.chosen_rows import held_out
from videoadapt.data.class_folders import FolderContent
from videoadapt.data.copies import find_copies
from videoadapt.data.folds import group_names
from videoadapt.data.list_files import write_list
from videoadapt.data.structures import Video
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError
from videoadapt.files import write_text


@dataclass(frozen=True)
class Copies:
    """Videos that are left out: copies of another one with its label, and those with the same bytes under two labels."""

    same_label: list[tuple[Video, Video]]
    other_label: list[tuple[Video, Video]]


def without_copies(videos: Sequence[Video]) -> tuple[list[Video], Copies]:
    """Leave out what holds the same bytes as an earlier video, and all of them when their labels differ.

    What is divided afterwards then has no file on two sides.
    """
    copies, left_out = Copies([], []), set()
    for group in find_copies([str(video.path) for video in videos]):
        same = [videos[index] for index in group]
        differs = next((video for video in same if video.label != same[0].label), None)
        if differs is not None:
            left_out |= set(group)
            copies.other_label.extend((video, differs if video.label == same[0].label else same[0]) for video in same)
        else:
            left_out |= set(group[1:])
            copies.same_label.extend((video, same[0]) for video in same[1:])
    return [video for index, video in enumerate(videos) if index not in left_out], copies


def divided(
    found: FolderContent, shares: Mapping[str, float | None], group: str | None, seed: int, key: str = "--"
) -> tuple[dict[str, list[Video]], Copies]:
    """The train, val and test lists of class folders, without copies: as their folders say, else by `shares` of them.

    `shares` has `val` and `test`, None where nothing is wished: then it is 0.1 and 0.2, or 0 where folders divide. A
    share of a list that has a folder is refused with a DataListError. `key` stands before val, test and group in messages.
    """
    lists = found.given() if found.split_of else {"train": found.videos, "val": [], "test": []}
    for split, share in shares.items():
        if share is not None and split in found.split_of.values():
            raise DataListError(f"{key}{split} {share}: there is a folder for this list; leave the option out")
    # a test list keeps its videos, and a training list loses the copies of them
    kept, copies = without_copies([*lists["test"], *lists["val"], *lists["train"]])
    names = {video.id for video in kept}
    lists = {split: [video for video in videos if video.id in names] for split, videos in lists.items()}
    usual = {"val": 0.0, "test": 0.0} if found.split_of else {"val": 0.1, "test": 0.2}
    val, test = (usual[split] if (share := shares[split]) is None else share for split in ("val", "test"))
    parts = divide(lists["train"], val, test, group, seed, key)
    return {
        "train": parts["train"],
        "val": lists["val"] + parts["val"],
        "test": lists["test"] + parts["test"],
    }, copies


def divide(
    videos: Sequence[Video], val: float, test: float, group: str | None, seed: int, key: str = "--"
) -> dict[str, list[Video]]:
    """Divide into train, val and test by a hash of seed and name, class by class.

    `val` and `test` are shares of all videos. `group` is a regex: videos in which it finds the same text stay together
    (the first bracket, if it has one). Raises DataListError for shares that leave less than half to train on, and when
    a share cannot be taken because no group is small enough.
    """
    if not (val >= 0 and test >= 0 and val + test <= 0.5):
        raise DataListError(f"{key}val {val} {key}test {test}: allowed: 0 or more, together at most 0.5")
    if group:
        group_names([], group, f"{key}group")  # also where nothing is to be divided
    lists: dict[str, list[Video]] = {"train": list(videos), "val": [], "test": []}
    for split, of_all, share in (("test", test, test), ("val", val, val / (1 - test))):
        if share:
            rows = VideoRows(Path(), ((video.id, video.label, 0) for video in lists["train"]))
            held_N = held_out(rows, share, group, seed, f"{key}{split} {of_all:g}", f"{key}group")
            lists[split] = [video for video, held in zip(lists["train"], held_N, strict=True) if held]
            lists["train"] = [video for video, held in zip(lists["train"], held_N, strict=True) if not held]
    return lists


def write_lists(folder: Path, lists: Mapping[str, Sequence[Video]], class_names: Sequence[str]) -> None:
    """Write `<split>.csv` of every list that is not empty, and classes.txt, into `folder`.

    Raises DataListError for a class whose name is no line of its own.
    """
    for name in class_names:
        if not name.strip() or len(name.splitlines()) != 1:
            raise DataListError(f"class {name!r}: rename it; a class file cannot hold empty names or line breaks")
    for split, videos in lists.items():
        if videos:
            write_list(folder / f"{split}.csv", videos)
        else:
            (folder / f"{split}.csv").unlink(missing_ok=True)  # of an earlier division, which this one replaces
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in class_names))


def missing_classes(lists: Mapping[str, Sequence[Video]], found: FolderContent, key: str = "--") -> list[str]:
    """A line for every list that is not empty and holds no video of some classes: what to do about it.

    `key` stands before val, test and group, as in `divided`.
    """
    lines = []
    for split, videos in lists.items():
        there = {video.label for video in videos}
        names = [name for label, name in enumerate(found.class_names) if label not in there]
        if not videos or not names:
            continue
        of_divided = split != "train" and split not in found.split_of.values()
        cure = f", a larger {key}{split} or a {key}group that finds smaller groups" if of_divided else ""
        lines.append(
            f"{split} holds no video of {len(names)} of {len(found.class_names)} classes, first {names[0]!r}; more videos of "
            f"them{cure} would bring some"
        )
    return lines
