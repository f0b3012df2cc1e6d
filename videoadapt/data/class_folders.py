"""A folder a class, as people keep their videos: to train, validation and test lists and class names."""

import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from videoadapt.data.chosen_rows import held_out
from videoadapt.data.copies import find_copies
from videoadapt.data.list_files import check_name, write_list
from videoadapt.data.structures import Video
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError
from videoadapt.files import write_text
from videoadapt.paths import is_folder, refuse_closed

Kind = Literal["videos", "images"]
_VIDEOS = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob",
    ".webm", ".wmv",
)  # fmt: skip
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "videos": _VIDEOS,
    "images": (".bmp", ".jpeg", ".jpg", ".png", ".webp"),  # what the decoder `image` reads
}


SPLITS = {  # names of folders, in small letters without `_`, `-` and blanks, whose videos are divided already
    "train": ("train", "training", "trainset", "trainingset", "traindata", "trainingdata"),
    "val": ("val", "valid", "validation", "valset", "validset", "validationset", "dev", "devset"),
    "test": ("test", "testing", "testset", "testingset", "testdata", "testingdata"),
}


@dataclass(frozen=True)
class ClassFolders:
    """What lies below a folder: all videos, the class names (a label is a row), and files that are no videos.

    `split_of` names the list of each folder, as it is called there, whose videos are divided already; it is empty where
    the class folders lie at the top.
    """

    videos: list[Video]
    class_names: list[str]
    others: list[str]
    split_of: dict[str, str]

    def given(self) -> dict[str, list[Video]]:
        """The videos of each list, as the folders divide them."""
        lists: dict[str, list[Video]] = {split: [] for split in SPLITS}
        for video in self.videos:
            lists[self.split_of[video.id.partition("/")[0]]].append(video)
        return lists


def read_class_folders(root: Path, files: Kind = "videos") -> ClassFolders:
    """Find the videos, or the images, of every class folder in `root`, at any depth, in the order of their names.

    The class folders may lie in folders for training, validation and test (SPLITS). Classes are sorted by name; hidden files
    and folders are passed over. Raises DataListError when there are fewer than two classes, one of them holds no video,
    split folders stand beside others, or a name cannot stand in a list.
    """
    if not is_folder(root):
        raise DataListError(f"{root}: is no folder; expected one with a folder of videos for each class")
    split_of = _split_folders(root)
    tops = [root / name for name in sorted(split_of)] if split_of else [root]
    names = sorted({name for top in tops for name in _folders(top)})
    if len(names) < 2:
        where = f"{root}: its {', '.join(sorted(split_of))} hold" if split_of else f"{root}: holds"
        raise DataListError(f"{where} {len(names)} folders; expected one for each class, at least two")
    videos: list[Video] = []
    others = [path.relative_to(root).as_posix() for top in tops if split_of for path in top.iterdir() if path.is_file()]
    for label, name in enumerate(names):
        found = []
        for path in itertools.chain.from_iterable(files_below(top / name) for top in tops):
            if path.suffix.lower() in SUFFIXES[files]:
                found.append(Video(path.relative_to(root).as_posix(), path, label))
            else:
                others.append(path.relative_to(root).as_posix())
        if not found:
            where = f"{root}: class folder {name}" if split_of else f"{root / name}"
            there = {path.suffix.lower() for top in tops for path in files_below(top / name)}
            raise DataListError(f"{where}: {_no_files(files, there)}")
        for video in found:
            check_name(video.id)
        videos += sorted(found)
    return ClassFolders(videos, names, sorted(others), split_of)


def _split_folders(root: Path) -> dict[str, str]:
    """The folders in `root` that are named as splits are, and which; empty where none or a single one is, beside others."""
    split_of: dict[str, str] = {}
    for name in _folders(root):
        plain = re.sub(r"[-_ ]", "", name.lower())
        if split := next((split for split, spellings in SPLITS.items() if plain in spellings), None):
            split_of[name] = split
    rest = [name for name in _folders(root) if name not in split_of]
    if rest and len(split_of) < 2:
        return {}  # a class may be called `train`
    named = ", ".join(sorted(split_of))
    if rest:
        raise DataListError(
            f"{root}: {named} are folders of splits, and {rest[0]} beside them is none; name the folder of the classes, or "
            "move what is no split elsewhere"
        )
    if len(set(split_of.values())) < len(split_of):
        raise DataListError(f"{root}: of {named} two are one split; put their videos together, or rename one")
    flat = [name for name in split_of if not _folders(root / name)]
    if flat:
        raise DataListError(f"{root / flat[0]}: holds no folders; expected one for each class in {named}")
    return split_of


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def files_below(root: Path) -> Iterator[Path]:
    """All files below a folder that are not hidden; none where there is no folder."""
    for folder, below, files in os.walk(root, onerror=refuse_closed):
        below[:] = [entry for entry in below if not entry.startswith(".")]
        yield from (Path(folder) / file for file in files if not file.startswith("."))


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
    found: ClassFolders, shares: Mapping[str, float | None], group: str | None, seed: int, key: str = "--"
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
    if min(val, test) < 0 or val + test > 0.5:
        raise DataListError(f"{key}val {val} {key}test {test}: allowed: 0 or more, together at most 0.5")
    try:
        re.compile(group or "")
    except re.error as error:
        raise DataListError(f"{key}group {group!r}: is no regular expression: {error}") from error
    lists: dict[str, list[Video]] = {"train": list(videos), "val": [], "test": []}
    for split, share in (("test", test), ("val", val / (1 - test))):
        if share:
            rows = VideoRows(Path(), ((video.id, video.label, 0) for video in lists["train"]))
            held_N = held_out(rows, share, group, seed, f"{key}{split}")
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


def classes_without(lists: Mapping[str, Sequence[Video]], class_names: Sequence[str]) -> dict[str, list[str]]:
    """For every list that is not empty, the classes of which it holds no video."""
    missing: dict[str, list[str]] = defaultdict(list)
    for split, videos in lists.items():
        counts = Counter(video.label for video in videos)
        if videos:
            missing[split] = [name for label, name in enumerate(class_names) if not counts[label]]
    return {split: names for split, names in missing.items() if names}


def _no_files(files: Kind, there: Collection[str]) -> str:
    """That a class has no file of this kind, and what to do; `there` is what its files end in."""
    other: Kind = "images" if files == "videos" else "videos"
    if set(SUFFIXES[other]) & set(there):
        # the decoder, and what is done to frames, is another one too: a config of its own
        return (
            f"holds {other}; take --cfg own_{other}, or set data.dataset.files {other} in a config of your own "
            f"(prepare folder: --files {other})"
        )
    return f"holds no {files[:-1]}; remove the folder, or add files ({', '.join(sorted(SUFFIXES[files]))})"
