"""The lists that a run needs, loaded, checked and divided, with the names of their classes."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import distributed, logger
from videoadapt.config.schema import Config, DataConfig, Holdout
from videoadapt.config.shipped import LISTS, find_list
from videoadapt.data.class_folders import SUFFIXES
from videoadapt.data.list_files import read_classes, why_no_file
from videoadapt.data.shared_classes import OtherList
from videoadapt.data.splits import (
    NO_FILE,
    Splits,
    find_files,
    first_of_each_class,
    held_out,
    num_shared,
    some_of_each_class,
)
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataFolderError, DataListError, NotPermitted
from videoadapt.paths import exists, is_folder
from videoadapt.rendering.motions import MOTIONS
from videoadapt.runs.build_data import build_dataset
from videoadapt.runs.class_sizes import say_unequal
from videoadapt.runs.frame_counts import short_folders
from videoadapt.runs.overlaps import say_overlaps
from videoadapt.runs.same_files import same_files
from videoadapt.runs.test_lists import data_of, other_lists, own_list, under_our_labels
from videoadapt.video.decoders import reads_folders, reads_pictures
from videoadapt.video.files import why_no_video


def load_splits(config: Config, *, make: bool = True) -> Splits:
    """Load the lists that the run needs. Raises DataListError with all problems at once.

    A list is needed when `train.enable` or `test.enable` asks for it. Without `make`, a data set that makes its files itself
    leaves that for later (`has_files_to_make`), and nothing is said of them.
    """
    data = config.data
    problems: list[str] = []
    dataset, sources = build_dataset(data), _needed(config)
    planned = not make and _has_to_make(dataset, sources.values(), data)
    with distributed.main_process_first():
        lists = {
            split: _load_list(dataset, split, sources[split], data, problems, planned)
            if split in sources
            else VideoRows(data.root, ())
            for split in ("train", "test", "val")
        }
    class_names = _class_names(dataset, config, problems)
    limits = {"train": data.max_unreadable, "val": 0.0, "test": config.test.max_unreadable}
    files = {split: find_files(videos, reads_folders(data.decoder)) for split, videos in lists.items()}
    for split, videos in lists.items():
        problems += _row_problems(split, videos, files[split], config, class_names, limits[split], planned)
    if len({lists[split].unit for split in lists if lists[split].parts_N2 is not None}) > 1:
        problems.append(
            "data.train, data.val, data.test: some rows are parts in seconds, others in frames; choose one for all"
        )
    if problems:
        raise DataListError("\n".join(problems))
    others = _load_others(config, class_names, lists["train"], files["train"], make) if config.test.enable else {}
    _divide(config, lists, files)
    if not planned:
        say_overlaps(lists, files)
        say_unequal(config, lists["train"], class_names)
    num_val_in_test = num_shared(files["val"], files["test"], lists["val"].parts_N2, lists["test"].parts_N2)
    return Splits(lists["train"], lists["val"], lists["test"], class_names, num_val_in_test, others)


def has_files_to_make(config: Config) -> bool:
    """Whether `load_splits` makes files that a run reads, as of rendered clips, and left that without `make`; all ranks ask."""
    found = _has_to_make(build_dataset(config.data), _needed(config).values(), config.data)
    for asked in other_lists(config.data).values() if config.test.enable else ():
        data = data_of(config.data, asked)
        found |= _has_to_make(build_dataset(data, asked.list), [asked.list], data)
    return any(distributed.all_gather_objects(found))  # another rank may have begun to make them


def _has_to_make(dataset: Any, sources: Iterable[str | None], data: DataConfig) -> bool:
    """Whether a data set makes its files itself, which then tells its `rows` before, and may still have to make some."""
    if not hasattr(dataset, "rows"):
        return False
    return not hasattr(dataset, "is_made") or not all(dataset.is_made(s, data.root) for s in sources if s is not None)


def _validates(config: Config) -> bool:
    return config.train.enable or (config.test.enable and config.test.calibrate)


def _needed(config: Config) -> dict[str, str | None]:
    """The lists that are to be loaded, and what they are called; None: not set."""
    data, own = config.data, own_list(config.data)
    sources: dict[str, str | None] = {}
    held_out_of_it = _validates(config) and isinstance(data.val, Holdout)
    if (config.train.enable or held_out_of_it) and data.rendered is None:
        sources["train"] = data.train
    if config.test.enable:
        sources["test"] = None if own is None else own.list
    if _validates(config) and isinstance(data.val, str):
        sources["val"] = data.val
    return sources


def _divide(config: Config, lists: dict[str, VideoRows], files: dict[str, NDArray[Any]]) -> None:
    """Hold a share of the training list out for validation, and take a few of each class of what is left."""
    data = config.data
    if isinstance(data.val, Holdout) and _validates(config):
        held_N = held_out(lists["train"], data.val.holdout, data.val.group, config.seed)
        lists["val"], files["val"] = lists["train"].select(held_N), files["train"][held_N]
        _keep(lists, files, ~held_N)
    if data.first_per_class is not None:
        _keep(lists, files, first_of_each_class(lists["train"], data.first_per_class))
    if (draw := data.few_per_class) is not None:
        seed = config.seed if draw.seed is None else draw.seed
        _keep(lists, files, some_of_each_class(lists["train"], draw.count, seed))


def _keep(lists: dict[str, VideoRows], files: dict[str, NDArray[Any]], kept_N: NDArray[np.bool_]) -> None:
    """Of the training list, these rows."""
    lists["train"], files["train"] = lists["train"].select(kept_N), files["train"][kept_N]


def _row_problems(
    split: str,
    videos: VideoRows,
    files_N: NDArray[Any],
    config: Config,
    class_names: Sequence[str],
    limit: float,
    planned: bool,
) -> list[str]:
    """What is wrong with rows and their files, of which the share `limit` may be missing; labels, where classes are known.

    Of files that are `planned`, what their names say.
    """
    data = config.data
    of_names = [
        *(_wrong_labels(split, videos, len(class_names)) if class_names else []),
        *_no_pictures(split, videos, limit, data),
    ]
    if planned:
        return of_names
    return [
        *of_names,
        *_missing_files(split, videos, files_N, limit, data),
        *same_files(split, videos, files_N, config.task != "pretrain"),
        *short_folders(split, videos, files_N, limit, data.decoder),
    ]


def _load_others(
    config: Config, class_names: Sequence[str], training: VideoRows, trained_N: NDArray[Any], make: bool
) -> dict[str, OtherList]:
    """The lists to test on after the first, checked as that is. Raises DataListError with all problems."""
    problems: list[str] = []
    found, limit = {}, config.test.max_unreadable
    for name, asked in other_lists(config.data).items():
        split, data, before = f"test.{name}", data_of(config.data, asked), len(problems)
        dataset = build_dataset(data, asked.list)
        planned = not make and _has_to_make(dataset, [asked.list], data)
        with distributed.main_process_first():
            videos = _load_list(dataset, split, asked.list, data, problems, planned)
        try:
            found[name] = (
                under_our_labels(name, asked, videos, class_names) if len(problems) == before else OtherList(videos)
            )
        except DataListError as error:
            problems.append(str(error))
            continue
        videos = found[name].videos
        files_N = find_files(videos, reads_folders(data.decoder))
        asking = config.model_copy(update={"data": data})
        problems += _row_problems(split, videos, files_N, asking, class_names, limit, planned)
        if shared := num_shared(trained_N, files_N, training.parts_N2, videos.parts_N2):
            logger.warning("data.train and data.%s share %d videos: the accuracy on it will be too high", split, shared)
    if problems:
        raise DataListError("\n".join(problems))
    return found


def _load_list(
    dataset: Any, split: str, source: str | None, data: DataConfig, problems: list[str], planned: bool
) -> VideoRows:
    nothing = VideoRows(data.root, ())
    if source is None:
        problems.append(f"data.{split}: is not set; name a list of videos, or set {split}.enable false")
        return nothing
    try:
        videos: VideoRows = (dataset.rows if planned else dataset.load)(str(find_list(source)), data.root)
    except DataFolderError as error:  # for one list as for the next, and said once
        said = f"data.root = {data.root}: {str(error).removeprefix(f'{data.root}: ')}"
        if not is_folder(data.root):
            start = "" if data.root.is_absolute() else f", which starts {started_from()}"
            said += f"; set data.root{start}"
        if said not in problems:
            problems.append(said)
        return nothing
    except DataListError as error:
        is_list = hasattr(dataset, "columns")
        problems.append(f"data.{split} = {error}{_where_lists_are(source, data) if is_list else _obtain(data)}")
        return nothing
    except OSError as error:  # of a data set that renders itself
        problems.append(f"data.root = {data.root}: {error.strerror}: {error.filename or source}; choose another folder")
        return nothing
    if split != "train":
        first: dict[str, int] = {}
        doubled = [row for row, name in enumerate(videos.ids()) if first.setdefault(name, row) != row]
        if doubled:
            again = videos[doubled[0]]
            before = videos[first[again.id]]
            labels = f", labels {before.label} and {again.label}" if before.label != again.label else ""
            problems.append(
                f"data.{split} = {source}: {len(doubled)} videos appear twice, first {again.id!r} (lines "
                f"{before.line} and {again.line}{labels}); take one out"
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
        if names is None and not problems:  # what is wrong with its lists may be why it knows none
            problems.append("data.classes: is not set; name a file with one class name a line, or give their number")
        return names or []
    try:
        return read_classes(find_list(data.classes))
    except DataListError as error:
        problems.append(f"data.classes = {error}{_where_lists_are(data.classes, data)}")
        return []


def _wrong_labels(split: str, videos: VideoRows, num_classes: int) -> list[str]:
    wrong = np.flatnonzero(videos.highest_label_N() >= num_classes)
    if not len(wrong):
        return []
    first = videos[wrong[0]]
    return [
        f"data.{split}: {len(wrong)} labels are outside 0..{num_classes - 1} (data.classes names {num_classes} classes), "
        f"first {first.label_text} of {first.id!r} (line {first.line}); fix the list or data.classes"
    ]


def _missing_files(split: str, videos: VideoRows, files_N: NDArray[Any], limit: float, data: DataConfig) -> list[str]:
    missing = np.flatnonzero(files_N["inode"] == NO_FILE)
    if not len(missing):
        return []
    first = videos[missing[0]]
    hint = why_no_file(f"{first.name} {first.label_text}") if videos.parts_N2 is None else ""
    said = (
        f"data.root = {data.root}: {len(missing)} of the {len(videos)} videos of data.{split} are not there, "
        f"first {first.path} (line {first.line}): {why_no_video(first.path, reads_folders(data.decoder))}{hint}"
    )
    if len(missing) <= limit * len(videos):
        logger.warning("%s; within the limit of %g, so the run continues without them", said, limit)
        return []
    if not is_folder(data.root) and not data.root.is_absolute():
        said += f"; data.root starts {started_from()}"
    return [said + _obtain(data)]


def _no_pictures(split: str, videos: VideoRows, limit: float, data: DataConfig) -> list[str]:
    """What a decoder of single pictures cannot read, by its name: films."""
    if not reads_pictures(data.decoder) or reads_folders(data.decoder):
        return []
    films = [name for name in videos.names() if name.lower().endswith(SUFFIXES["videos"])]
    if len(films) <= limit * len(videos):
        return []
    name = data.decoder["name"]
    return [
        f"data.decoder.name = {name!r}: reads pictures, and {len(films)} of the {len(videos)} files of data.{split} are films, "
        f"first {films[0]}; leave data.decoder out, or list pictures ({', '.join(SUFFIXES['images'])})"
    ]


def _where_lists_are(name: str, data: DataConfig) -> str:
    """What to do about a list that is not there; "" for one that is, and whose content is wrong."""
    path = find_list(name)
    try:
        if os.path.islink(path) or exists(path):
            return ""
    except NotPermitted:  # the error in front says so
        return ""
    if path.parts[:1] == (LISTS,):  # of a data set whose lists its owner makes
        return f"; it is neither {started_from()} nor beside the package{_obtain(data)}"
    return "" if path.is_absolute() else f"; this path starts {started_from()}: write the whole path, or start there"


def started_from() -> str:
    """Where relative paths start, for people."""
    return f"in {os.getcwd()}, where the command was started"


def _obtain(data: DataConfig) -> str:
    return f"\n    where to get it: {data.obtain}" if data.obtain else ""
