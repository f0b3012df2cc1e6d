"""Which videos a user means: files, parts of them, folders, patterns such as `clips/*.mp4`, and lists of names."""

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from videoadapt.data.class_folders import SUFFIXES, Kind, files_below
from videoadapt.data.columns import header_in
from videoadapt.data.datasets.video_list import read_list
from videoadapt.data.label_sets import NONE
from videoadapt.data.list_files import read_text
from videoadapt.errors import DataListError
from videoadapt.paths import exists, is_folder

_LABELS = re.compile(rf"\d+(,\d+)*|{NONE}")


def videos_named(names: Iterable[str | Path], folders: bool = False, files: Kind = "videos") -> list[Path]:
    """The videos that these names stand for, each once, in their order; those of a folder, at any depth, by name.

    `folders`: to the model's decoder a folder is a video, when files lie in it. `files`: what is taken from a folder. A
    name of nothing stays as it is, for its reader to refuse. Raises DataListError for a folder without videos and a
    pattern that nothing fits.
    """
    return list(dict.fromkeys(video for name in names for video in _videos_of(Path(name), folders, files)))


def videos_listed(path: Path, root: Path = Path()) -> list[Path]:
    """The videos of a list, each once: a name a line, or rows as lists for training have them, whose labels do not matter.

    Names start from `root`; a row may be a part of a film (data/columns.py). Raises DataListError for a list that cannot be
    read, has a row that is none, or is empty.
    """
    text = read_text(path)
    if header_in(text.partition("\n")[0]):
        found = [Path(f"{video.path}{video.part or ''}") for video in read_list(str(path), root, "multi")]
    else:
        found = [root / _name_in(row.strip(), root) for row in text.split("\n") if row.strip()]
    if not found:
        raise DataListError(f"{path}: holds no row; expected the name of a video on each line")
    return list(dict.fromkeys(found))


def _videos_of(name: Path, folders: bool, files: Kind) -> Iterator[Path]:
    if is_folder(name):
        found = sorted(_frame_folders(name) if folders else _videos_below(name, files))
        if not found:
            raise DataListError(
                f"{name}: holds no {files[:-1]} ({', '.join(SUFFIXES[files])}); name another folder, or for one of frames a "
                "run with data.decoder.name frame_folder"
            )
        yield from found
    elif glob.has_magic(str(name)) and not exists(name):
        found = sorted(map(Path, glob.glob(str(name), recursive=True)))
        if not found:
            raise DataListError(f"{name}: no file fits this pattern")
        for path in found:
            if folders or is_folder(path):
                yield from _videos_of(path, folders, files)
            else:
                yield path
    else:
        yield name


def _videos_below(folder: Path, files: Kind) -> Iterator[Path]:
    return (path for path in files_below(folder) if path.suffix.lower() in SUFFIXES[files])


def _frame_folders(folder: Path) -> set[Path]:
    return {path.parent for path in files_below(folder)}


def _name_in(row: str, root: Path) -> str:
    """The path of a row, which may hold spaces: without a label behind the last one, unless all of it is a file's name."""
    name, _, labels = row.rpartition(" ")
    return name.strip() if name and _LABELS.fullmatch(labels) and not exists(root / row) else row
