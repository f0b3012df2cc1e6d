"""The list of videos, or of class names, that a config names: loaded, or why it cannot be and what to do about it."""

import os
from typing import Any

from videoadapt.config.schema import Config, DataConfig
from videoadapt.config.shipped import LISTS, find_list
from videoadapt.data.list_files import read_classes
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataFolderError, DataListError, NotPermitted
from videoadapt.paths import exists, is_folder, started_from
from videoadapt.rendering.motions import MOTIONS


def load_list(dataset: Any, split: str, source: str | None, data: DataConfig, planned: bool) -> VideoRows:
    """The list `source` of `data.<split>`, which None says is not set, as the data set reads it.

    Of files that the data set is still to make, `planned`, the rows that it tells before. Raises DataListError.
    """
    if source is None:
        raise DataListError(f"data.{split}: is not set; name a list of videos, or set {split}.enable false")
    try:
        videos: VideoRows = (dataset.rows if planned else dataset.load)(str(find_list(source)), data.root)
    except DataFolderError as error:
        said = f"data.root = {data.root}: {str(error).removeprefix(f'{data.root}: ')}"
        if not is_folder(data.root):
            start = "" if data.root.is_absolute() else f", which starts {started_from()}"
            said += f"; set data.root{start}"
        raise DataListError(said) from error
    except DataListError as error:
        is_list = hasattr(dataset, "columns")
        what_to_do = _where_lists_are(source, data) if is_list else where_to_get(data)
        raise DataListError(f"data.{split} = {error}{what_to_do}") from error
    except OSError as error:  # of a data set that renders itself
        raise DataListError(
            f"data.root = {data.root}: {error.strerror}: {error.filename or source}; choose another folder"
        ) from error
    if not isinstance(videos, VideoRows):  # of a class from outside the package
        raise DataListError(
            f"data.{split} = {source}: `load` of data.dataset {data.dataset['name']!r} returned a {type(videos).__name__}; "
            "needed: videoadapt.data.videos.VideoRows(root, rows) of (path below root, label, line)"
        )
    return videos


def load_class_names(dataset: Any, config: Config) -> list[str] | None:
    """The names of the classes in the order of their labels; [] of a pre-training, which has none.

    None where `data.classes` is not set and the data set knows none. Raises DataListError for a file that cannot be read.
    """
    data = config.data
    if config.task == "pretrain":
        return []
    if data.rendered is not None and data.rendered.motions != "any":
        return list(MOTIONS[data.rendered.motions])
    if isinstance(data.classes, int):
        return [str(label) for label in range(data.classes)]
    if data.classes is None:
        known: list[str] | None = getattr(dataset, "class_names", None)
        return known
    try:
        return read_classes(find_list(data.classes))
    except DataListError as error:
        raise DataListError(f"data.classes = {error}{_where_lists_are(data.classes, data)}") from error


def _where_lists_are(name: str, data: DataConfig) -> str:
    """What to do about a list that is not there; "" for one that is, and whose content is wrong."""
    path = find_list(name)
    try:
        if os.path.islink(path) or exists(path):
            return ""
    except NotPermitted:  # the error in front says so
        return ""
    if path.parts[:1] == (LISTS,):  # of a data set whose lists its owner makes
        return f"; it is neither {started_from()} nor beside the package{where_to_get(data)}"
    return "" if path.is_absolute() else f"; this path starts {started_from()}: write the whole path, or start there"


def where_to_get(data: DataConfig) -> str:
    """What `data.obtain` says, as a line below a problem; "" where it says nothing."""
    return f"\n    where to get it: {data.obtain}" if data.obtain else ""
