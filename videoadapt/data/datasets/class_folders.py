"""A folder a class, divided once: the lists are written beside it, and every run reads them there."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Interval

from videoadapt import logger
from videoadapt.data import class_folders as folders
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.division import Copies, divided, missing_classes, write_lists
from videoadapt.data.list_files import read_classes
from videoadapt.data.structures import Video
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataFolderError, DataListError, counted
from videoadapt.files import write_json
from videoadapt.paths import check_regular, is_file, why_unwritable, with_home
from videoadapt.registry import DATASETS

DIVISION = "division.json"


class _Division(NamedTuple):
    """What lies in the folder, its lists by name, and what they leave out."""

    found: folders.FolderContent
    lists: dict[str, list[Video]]
    copies: Copies


Share = Annotated[float | None, Interval(ge=0, le=0.5)]


@DATASETS.register
class ClassFolders:
    """The videos of the class folders in `data.root`, or the images, whose lists are called train, val and test.

    `val` and `test` are shares of every class, where there are no folders train, val and test (None: 0.1 and 0.2 without such
    folders, else none). `group` is a regex: videos in which it finds the same text stay on one side. Files with the same bytes
    are taken once. Another `seed` is another division. The lists lie in `lists`, or beside the root as ROOT_lists.
    """

    def __init__(
        self,
        *,
        val: Share = None,
        test: Share = None,
        group: str | None = None,
        seed: Annotated[int, Ge(0)] = 0,
        lists: str | None = None,
        files: folders.Kind = "videos",
    ):
        self._shares = {"val": val, "test": test}
        self._group, self._seed, self._lists, self._files = group, seed, lists, files
        self.class_names: list[str] | None = None
        self._found: tuple[Path, _Division] | None = None

    def is_made(self, source: str, root: Path) -> bool:
        """Whether `load` has nothing to write: the folder was divided before."""
        return source not in folders.SPLITS or is_file(self._place(root) / DIVISION)

    def rows(self, source: str, root: Path) -> VideoRows:
        """Return what `load` does, and raise what it does, while no list is written."""
        if self.is_made(source, root):
            return self.load(source, root)
        try:
            division = self._division(root, self._place(root))
        except DataListError as error:
            raise DataFolderError(str(error)) from error
        self.class_names = division.found.class_names
        videos = division.lists[source]
        if not videos and source != "val":
            raise DataListError(self._without(source, root))
        return VideoRows(root, ((video.id, video.label, line) for line, video in enumerate(videos, 1)))

    def load(self, source: str, root: Path) -> VideoRows:
        """Return the videos of the list `source`, and of none where the division has no validation list.

        The first call divides the folder. Another name is a list of `path label` rows. Raises DataFolderError for class folders
        that cannot be used and a division that was made with other values, and DataListError for an empty list.
        """
        if source not in folders.SPLITS:
            return VideoList().load(source, root)
        place = self._place(root)
        try:
            if not is_file(place / DIVISION):
                self._divide(root, place)
            elif self.class_names is None:
                self._check(root, place)
        except DataListError as error:
            raise DataFolderError(str(error)) from error
        self.class_names = read_classes(place / "classes.txt")
        path = place / f"{source}.csv"
        if not is_file(path):
            if source == "val":
                return VideoRows(root, ())
            raise DataListError(self._without(source, root))
        return VideoList().load(str(path), root)

    def _without(self, source: str, root: Path) -> str:
        place = self._place(root)
        if not is_file(place / DIVISION):
            return f"{source}: {root} is divided without such a list; set data.dataset.{source}"
        return f"{source}: {place} divides {root} without such a list; delete {place}, and set data.dataset.{source}"

    def _place(self, root: Path) -> Path:
        if self._lists is not None:
            return Path(with_home(self._lists))
        seed = f"_seed{self._seed}" if self._seed else ""
        whole = Path(os.path.abspath(root))
        return whole.with_name(f"{whole.name}_lists{seed}")

    def _arguments(self) -> dict[str, Any]:
        # not `files`: other files are not in the lists
        return {**self._shares, "group": self._group, "seed": self._seed}

    def _division(self, root: Path, place: Path) -> _Division:
        """How the folder is to be divided; looked at once for all lists."""
        if self._found is None or self._found[0] != root:
            found = folders.read_class_folders(root, self._files)
            if reason := why_unwritable(place):
                raise DataListError(f"{place}: {reason}; name a folder for the lists with data.dataset.lists")
            shares = {
                split: None if split in found.split_of.values() else share for split, share in self._shares.items()
            }
            self._found = (
                root,
                _Division(found, *divided(found, shares, self._group, self._seed, key="data.dataset.")),
            )
        return self._found[1]

    def _divide(self, root: Path, place: Path) -> None:
        found, lists, copies = self._division(root, place)
        write_lists(place, lists, found.class_names)
        left_out = [video.id for video, _ in copies.same_label + copies.other_label]
        write_json(place / DIVISION, {**self._arguments(), "left_out": left_out})
        _say(place, found, lists, copies)

    def _check(self, root: Path, place: Path) -> None:
        """Raise DataListError for a division by other values; say which videos came since."""
        check_regular(place / DIVISION)
        try:
            before = json.loads((place / DIVISION).read_text(encoding="utf-8"))
            known = set(before["left_out"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataListError(f"{place / DIVISION}: is not as it was written: {error}; delete {place}") from error
        for name, value in self._arguments().items():
            if before.get(name) != value:
                raise DataListError(
                    f"{place}: was divided with {name} {before.get(name)}, and data.dataset.{name} is {value}; delete it to "
                    "divide anew, or name another folder with data.dataset.lists"
                )
        for split in folders.SPLITS:
            if is_file(path := place / f"{split}.csv"):
                known.update(VideoList().load(str(path), root).names())
        new = [video.id for video in folders.read_class_folders(root, self._files).videos if video.id not in known]
        if new:
            logger.warning(
                "%s of %s came too late for its lists, first %s; delete %s to divide anew, and train "
                "into another output", counted(len(new), "video"), root, new[0], place,
            )  # fmt: skip


def _say(place: Path, found: folders.FolderContent, lists: Mapping[str, Sequence[Video]], copies: Copies) -> None:
    """What became of the folder."""
    counts = ", ".join(f"{len(videos)} {split}" for split, videos in lists.items() if videos)
    logger.info("%d classes; %s: the lists are in %s", len(found.class_names), counts, place)
    for line in missing_classes(lists, found, key="data.dataset."):
        logger.warning("%s", line)
    if found.others:
        logger.info(
            "%s left out by suffix, first %s", counted(len(found.others), "file is", "files are"), found.others[0]
        )
    if copies.same_label:
        video, other = copies.same_label[0]
        logger.info(
            "%s left out, first %s of %s",
            counted(len(copies.same_label), "copy of another video is", "copies of other videos are"),
            video.id,
            other.id,
        )
    if copies.other_label:
        video, other = copies.other_label[0]
        logger.warning(
            "%s left out: the same bytes lie in another class, first %s and %s",
            counted(len(copies.other_label), "video is", "videos are"), video.id, other.id,
        )  # fmt: skip
