"""NUS-WIDE: photographs with several labels each, as lists of names and, for each concept, a file of zeros and ones."""

import re
from pathlib import Path

from videoadapt.errors import DataListError
from videoadapt.paths import files_below
from videoadapt.preparing.downloads import DataSet, Download, Listed
from videoadapt.preparing.published_files import lines_of, only_file

_LISTS = {"train": "Train", "test": "Test"}


def nuswide(source: Path, work: Path) -> DataSet:
    """TrainImagelist.txt, TestImagelist.txt, Labels_<concept>_Train.txt and _Test.txt; photographs at any depth, by name.

    Row n of each label file is that of row n of the list. The classes are the concepts in alphabetical order; a photograph
    without any stays in its list, without labels.
    """
    where = {path.name: path.relative_to(source).as_posix() for path in files_below(source, "*.jpg")}
    names: list[str] = []
    lists = {}
    for split, spelled in _LISTS.items():
        listed = lines_of(only_file(source, f"{spelled}Imagelist.txt"))
        files = {_concept(path, spelled): path for path in files_below(source, f"Labels_*_{spelled}.txt")}
        if not files or (names and sorted(files) != names):
            raise DataListError(
                f"{source}: expected Labels_<concept>_{spelled}.txt of {len(names) or 81} concepts in it or below, found "
                f"{len(files)}"
            )
        names = sorted(files)
        labels: list[list[int]] = [[] for _ in listed]
        for number, concept in enumerate(names):
            marks = lines_of(files[concept])
            if len(marks) != len(listed) or not set(marks) <= {"0", "1"}:
                raise DataListError(
                    f"{files[concept]}: holds {len(marks)} rows; expected 0 or 1 for each of the {len(listed)} names of "
                    f"{spelled}Imagelist.txt"
                )
            for row, mark in enumerate(marks):
                if mark == "1":
                    labels[row].append(number)
        paths = (name.replace("\\", "/").strip("/") for name in listed)  # the lists are Windows'
        lists[split] = [
            Listed(where.get(path.rpartition("/")[2], f"Flickr/{path}"), -1, None, tuple(found))
            for path, found in zip(paths, labels, strict=True)
        ]
    return DataSet(source, names, lists)


def _concept(path: Path, spelled: str) -> str:
    match = re.fullmatch(rf"Labels_(.+)_{spelled}\.txt", path.name)
    assert match
    return match[1]


PICTURES: dict[str, Download] = {"nuswide": nuswide}
