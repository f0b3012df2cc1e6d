"""The folds of a sweep: lists for training and testing, made of data.train by groups, or published splits as they are."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videoadapt import logger
from videoadapt.config.schema import Config
from videoadapt.config.shipped import find_list
from videoadapt.data.columns import groups_in
from videoadapt.data.folds import divide, group_names, groups_per_class
from videoadapt.data.list_files import read_text, write_list
from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError, DataListError, counted
from videoadapt.files import as_record, write_json
from videoadapt.paths import is_file
from videoadapt.runs.build_data import build_dataset
from videoadapt.runs.named_lists import load_class_names
from videoadapt.sweeps.schema import Folds

AXIS = "fold"


class Division:
    """Settings of the axis `fold`, and the group of every video that is tested. `config`: of the cells, without the axes.

    Raises ConfigError for folds that cannot be, and where the folder's lists were made of another list or in another way.
    """

    def __init__(self, folds: Folds, config: Config, folder: Path):
        self._folds, self._config, self._data = folds, config, config.data
        if config.data.labels != "single":
            raise ConfigError(f"folds: data.labels = {config.data.labels}: has no top-1 to average; allowed: single")
        self.group_of: dict[str, str] = {}  # id of a video -> group; without groups, videos are groups
        if folds.splits is not None:
            self.settings = {
                str(number): {"data.train": train, "data.test": test}
                for number, (train, test) in enumerate(folds.splits, start=1)
            }
            if folds.group is not None or folds.group_file is not None:
                self._check_splits(folds.splits)
            return
        self.settings = self._divide(folder / "folds")

    def _divide(self, folder: Path) -> dict[str, dict[str, Any]]:
        folds, data = self._folds, self._data
        assert folds.number is not None
        if data.train is None:
            raise ConfigError("folds: divides data.train, which is null; name a list there")
        self._check_dataset()  # before data.val, which the configs of class folders set
        if isinstance(data.val, str):
            raise ConfigError(
                f"folds: data.val = {data.val} would stay the same while the tested videos change; set it to null, or to "
                "{holdout: 0.1} of each fold's training list"
            )
        videos, groups = self._load(data.train)
        self._check(videos, groups, folds.number)
        fold_N = divide(videos.labels_N, groups, folds.number, folds.seed)
        self._check_fold(videos, fold_N, folds.number)
        rows = "".join(
            f"{name} {label} {group}\n"
            for name, label, group in zip(videos.ids(), videos.labels_N, groups, strict=True)
        )
        made_of = {**folds.model_dump(mode="json"), "list_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        paths = [(folder / f"{n}_train.txt", folder / f"{n}_test.txt") for n in range(1, folds.number + 1)]
        if _is_new(folder / "division.json", made_of) or not all(map(is_file, sum(paths, ()))):
            folder.mkdir(parents=True, exist_ok=True)
            for number, (train, test) in enumerate(paths):
                write_list(train, videos.select(fold_N != number))
                write_list(test, videos.select(fold_N == number))
            write_json(folder / "division.json", made_of)
        return {
            str(number): {"data.train": str(train), "data.test": str(test), "data.columns": None}
            for number, (train, test) in enumerate(paths, start=1)
        }

    def _check_dataset(self) -> None:
        if (name := self._data.dataset["name"]) != "video_list":
            of_folder = (
                "; `prepare folder FOLDER --out LISTS --val 0 --test 0` writes both" if name == "class_folders" else ""
            )
            raise ConfigError(
                f"folds: data.dataset.name = {name!r} has no list to divide; set data.dataset {{name: video_list}}, data.val "
                f"null, and a list and its class file as data.train and data.classes{of_folder}"
            )

    def _load(self, source: str) -> tuple[VideoRows, list[str]]:
        """A list, and the group of each of its rows."""
        folds, data = self._folds, self._data
        path = find_list(source)
        self._check_dataset()
        videos: VideoRows = build_dataset(data).load(str(path), data.root)
        if folds.group_file is not None:
            groups = _from_file(folds.group_file, list(videos.names()), path)
        elif folds.group == "column":
            groups = groups_in(read_text(path), data.columns)
            if not all(groups):
                raise ConfigError(f"folds.group = column: {path} has rows without a group; {_COLUMN}")
        elif folds.group in (None, "video"):
            groups = list(videos.names())  # the parts of one film stay together
        else:
            groups = group_names(videos.names(), str(folds.group), "folds.group")
        self.group_of |= dict(zip(videos.ids(), groups, strict=True))
        return videos, groups

    def _check(self, videos: VideoRows, groups: Sequence[str], number: int) -> None:
        """More folds than groups, and classes in too few groups."""
        if number > len(set(groups)):
            raise ConfigError(
                f"folds.number = {number}: there are only {counted(len(set(groups)), 'group')}; choose fewer, or finer groups"
            )
        found = groups_per_class(videos.labels_N, groups)
        if alone := [label for label, count in found.items() if count == 1]:
            raise ConfigError(
                f"folds: the videos of class {self._named(alone)} are all of one group: the fold that tests "
                "them could not train them; choose finer groups, or leave the class out"
            )
        if few := [label for label, count in found.items() if count < number]:
            logger.warning(
                "folds.number = %d: class %s is in %d groups only: some folds do not test it",
                number, self._named(few), found[few[0]],
            )  # fmt: skip

    def _check_fold(self, videos: VideoRows, fold_N: Any, number: int) -> None:
        """That every fold tests something, and nothing that it does not train."""
        for fold in range(number):
            tested = set(videos.labels_N[fold_N == fold].tolist())
            untrained = sorted(tested - set(videos.labels_N[fold_N != fold].tolist()))
            if not tested or untrained:
                what = f"tests class {self._named(untrained)} and does not train it" if untrained else "tests nothing"
                raise ConfigError(
                    f"folds: fold {fold + 1} {what}; choose another folds.seed, fewer folds or finer groups"
                )

    def _named(self, labels: Sequence[int]) -> str:
        """The name of the first of these classes, with how many more there are, and names of some."""
        try:
            names = load_class_names(build_dataset(self._data), self._config) or []
        except DataListError:  # what a cell's own check says
            names = []
        first, *more = [repr(names[label]) if label < len(names) else str(label) for label in labels]
        shown = ", ".join([*more[:4], *(["..."] if len(more) > 4 else [])])
        return f"{first} (and {len(more)} more: {shown})" if more else first

    def _check_splits(self, splits: Sequence[tuple[str, str]]) -> None:
        for number, (train, test) in enumerate(splits, start=1):
            trained = set(self._load(train)[1])
            tested = set(self._load(test)[1])
            if shared := sorted(trained & tested):
                raise ConfigError(
                    f"folds.splits: split {number} has {counted(len(shared), 'group')} in training and test, first "
                    f"{shared[0]!r}; repair its lists, or take folds.group out"
                )


_COLUMN = "name it in data.columns or in the list's first row: path,label,group"


def _is_new(path: Path, made_of: dict[str, Any]) -> bool:
    """Whether there is no division yet. Raises ConfigError where there is one that was made otherwise."""
    if not is_file(path):
        return True
    before = as_record(path.read_bytes())
    if before != made_of:
        raise ConfigError(
            f"folds: {path.parent} holds folds of another list, or in another way; choose another `output`"
        )
    return False


def _from_file(path: Path, names: Sequence[str], source: Path) -> list[str]:
    """Rows `path group` as those of lists, the group behind the last space."""
    of: dict[str, str] = {}
    for name, group in _pairs(path):
        if of.setdefault(name, group) != group:
            raise DataListError(f"{path}: {name!r} is in two groups, {of[name]!r} and {group!r}")
    for name in names:
        if name not in of:
            raise DataListError(f"{path}: holds no group for {name!r} of {source}")
    return [of[name] for name in names]


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for line, row in enumerate(read_text(path).split("\n"), start=1):
        name, _, group = row.strip().rpartition(" ")
        if name:
            yield name.strip(), group
        elif group:
            raise DataListError(f"{path}: line {line}: {row!r}: expected `path group`")
