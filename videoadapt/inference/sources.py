"""Which videos a user means: files, parts of them, folders, patterns such as `clips/*.mp4`, and lists of names."""

import glob
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from videoadapt.config.schema import DataConfig
from videoadapt.config.shipped import find_list
from videoadapt.data.class_folders import SUFFIXES, Kind, files_below
from videoadapt.data.columns import header_in, rows_in_columns
from videoadapt.data.datasets.video_list import read_list
from videoadapt.data.label_sets import NONE
from videoadapt.data.list_files import read_text
from videoadapt.data.structures import Video
from videoadapt.errors import DataListError, DecodeError
from videoadapt.inference.videos import film_and_part
from videoadapt.paths import exists, is_folder
from videoadapt.runs.given_lists import columns_for
from videoadapt.video.files import place_of
from videoadapt.video.part import FramePart

_LABELS = re.compile(rf"\d+(,\d+)*|{NONE}")


def videos_named(names: Iterable[str | Path], folders: bool = False, files: Kind = "videos") -> list[Path]:
    """The videos that these names stand for, each once, in their order; those of a folder, at any depth, by name.

    `folders`: to the model's decoder a folder is a video, when files lie in it. `files`: what is taken from a folder. A
    name of nothing stays as it is, for its reader to refuse. Raises DataListError for a folder without videos and a
    pattern that nothing fits.
    """
    return list(dict.fromkeys(video for name in names for video in _videos_of(Path(name), folders, files)))


def videos_listed(path: Path, root: Path = Path(), data: DataConfig | None = None) -> list[Path]:
    """The videos of a list, each once: a name a line, or rows as lists for training have them, whose labels do not matter.

    Names start from `root`; a row may be a part of a film (data/columns.py), said in the columns that the first row names, or
    in those of the run's own lists, whose `data` this is. Raises DataListError for a list that cannot be read, has a row that
    is none, or is empty.
    """
    path = find_list(path)
    text = read_text(path)
    columns = None if data is None else columns_for(path, data)
    if columns or header_in(text.partition("\n")[0]):
        return list(dict.fromkeys(map(_name_of, read_list(str(path), root, "multi", columns))))
    found = [root / _name_in(row.strip(), root) for row in text.split("\n") if row.strip()]
    if not found:
        raise DataListError(f"{path}: holds no row; expected the name of a video on each line")
    problems: list[str] = []
    if data is not None and data.columns and not any(map(_is_there, found)):
        list(rows_in_columns(text, data.columns, problems, "multi"))
    if problems:
        raise DataListError(
            f"{path}: no row is of the run's columns (data.columns), nor the name of a video that is there, first "
            f"{problems[0]}; correct the rows, or --root"
        )
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


def _name_of(video: Video) -> Path:
    """What `film_or_part` reads again as this video; the first frames of a film are called by its name alone elsewhere."""
    part = video.part
    if isinstance(part, FramePart) and part.stop != math.inf:
        return Path(f"{video.path}#frame={part.first:.0f},{part.stop:.0f}")
    return Path(f"{video.path}{part or ''}")


def _is_there(name: Path) -> bool:
    with suppress(DecodeError):  # of seconds that are no part, which its answer says
        name, _ = film_and_part(name)
    return exists(name) or place_of(name) is not None


def _name_in(row: str, root: Path) -> str:
    """The path of a row, which may hold spaces: without a label behind the last one, unless all of it is a file's name."""
    name, _, labels = row.rpartition(" ")
    return name.strip() if name and _LABELS.fullmatch(labels) and not exists(root / row) else row
