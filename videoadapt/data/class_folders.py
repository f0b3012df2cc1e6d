"""A folder a class, as people keep their videos or images: what lies in it."""

import itertools
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from videoadapt.data.list_files import check_name
from videoadapt.data.structures import Video
from videoadapt.errors import DataListError, counted
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
class FolderContent:
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


def read_class_folders(root: Path, files: Kind = "videos") -> FolderContent:
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
        raise DataListError(f"{where} {counted(len(names), 'folder')}; expected one for each class, at least two")
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
    return FolderContent(videos, names, sorted(others), split_of)


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
