"""The lists that a run needs, loaded, checked and divided, with the names of their classes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import distributed, logger
from videoadapt.config.schema import Config, DataConfig, Holdout, TestList
from videoadapt.data.chosen_rows import first_of_each_class, held_out, some_of_each_class
from videoadapt.data.file_identity import find_files, num_shared
from videoadapt.data.shared_classes import OtherList
from videoadapt.data.splits import Splits
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError, counted
from videoadapt.runs.build_data import build_dataset
from videoadapt.runs.class_sizes import say_unequal
from videoadapt.runs.named_lists import load_class_names, load_list
from videoadapt.runs.overlaps import say_overlaps
from videoadapt.runs.row_problems import doubled_names, row_problems
from videoadapt.runs.test_lists import data_of, other_lists, own_list, under_our_labels
from videoadapt.video.decoders import reads_folders


def load_splits(config: Config, *, make: bool = True) -> Splits:
    """Load the lists that the run needs. Raises DataListError with all problems at once.

    A list is needed when `train.enable` or `test.enable` asks for it. Without `make`, a data set that makes its files itself
    leaves that for later (`has_files_to_make`), and nothing is said of them.
    """
    data = config.data
    problems: list[str] = []
    dataset, sources = build_dataset(data), _needed(config)
    planned = not make and _has_to_make(dataset, sources.values(), data)
    lists = {split: VideoRows(data.root, ()) for split in ("train", "test", "val")}
    with distributed.main_process_first():
        for split in (split for split in lists if split in sources):
            try:
                lists[split] = load_list(dataset, split, sources[split], data, planned)
            except DataListError as error:
                problems.append(str(error))
    class_names = _class_names(dataset, config, problems)
    limits = {"train": data.max_unreadable, "val": 0.0, "test": config.test.max_unreadable}
    files = {split: find_files(videos, reads_folders(data.decoder)) for split, videos in lists.items()}
    for split, videos in lists.items():
        problems += doubled_names(split, sources.get(split), videos)
        problems += row_problems(split, videos, files[split], config, len(class_names), limits[split], planned)
    if len({lists[split].unit for split in lists if lists[split].parts_N2 is not None}) > 1:
        problems.append(
            "data.train, data.val, data.test: some rows are parts in seconds, others in frames; choose one for all"
        )
    others: dict[str, OtherList] = {}
    for name, asked in other_lists(data).items() if config.test.enable else ():
        try:
            others[name] = _load_other(name, asked, config, class_names, lists["train"], files["train"], make)
        except DataListError as error:
            problems.append(str(error))
    if problems:
        raise DataListError("\n".join(dict.fromkeys(problems)))  # of data.root, each list says the same
    _divide(config, lists, files)
    if not planned:
        say_overlaps(lists, files)
        say_unequal(config, lists["train"], class_names)
    num_val_in_test: int | None = num_shared(files["val"], files["test"], lists["val"].parts_N2, lists["test"].parts_N2)
    if data.val is not None and not _validates(config):
        num_val_in_test = None  # a test alone may be where the validation list is not
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
        held_N = held_out(
            lists["train"], data.val.holdout, data.val.group, config.seed, f"data.val.holdout {data.val.holdout:g}"
        )
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


def _load_other(
    name: str,
    asked: TestList,
    config: Config,
    class_names: Sequence[str],
    training: VideoRows,
    trained_N: NDArray[Any],
    make: bool,
) -> OtherList:
    """A list to test on after the first, checked as that is; under the run's labels, where its classes are known.

    Raises DataListError with all problems.
    """
    split, data = f"test.{name}", data_of(config.data, asked)
    dataset = build_dataset(data, asked.list)
    planned = not make and _has_to_make(dataset, [asked.list], data)
    with distributed.main_process_first():
        videos = load_list(dataset, split, asked.list, data, planned)
    problems = doubled_names(split, asked.list, videos)
    found = OtherList(videos)
    try:
        found = under_our_labels(name, asked, videos, class_names) if class_names else found
    except DataListError as error:
        raise DataListError("\n".join([*problems, str(error)])) from error
    files_N = find_files(found.videos, reads_folders(data.decoder))
    asking, limit = config.model_copy(update={"data": data}), config.test.max_unreadable
    problems += row_problems(split, found.videos, files_N, asking, len(class_names), limit, planned)
    if problems:
        raise DataListError("\n".join(problems))
    if shared := num_shared(trained_N, files_N, training.parts_N2, found.videos.parts_N2):
        logger.warning(
            "data.train and data.%s share %s: the accuracy on it will be too high", split, counted(shared, "video")
        )
    return found


def _class_names(dataset: object, config: Config, problems: list[str]) -> list[str]:
    """The names of the classes; [] where they are not known, with the problem that this is."""
    try:
        names = load_class_names(dataset, config)
    except DataListError as error:
        problems.append(str(error))
        return []
    if names is None and not problems:  # what is wrong with its lists may be why a data set knows none
        problems.append("data.classes: is not set; name a file with one class name a line, or give their number")
    return names or []
