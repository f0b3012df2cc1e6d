"""A list of another data set: its classes that a model knows too, under the model's labels; the other ones are left out."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from videoadapt.data.list_files import read_text
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError, did_you_mean


@dataclass(frozen=True)
class OtherList:
    """A list that is tested besides the run's own; with the classes left out, and how many videos of theirs.

    `shared`: the model's labels that the list can have, where it is not all of them; `group`: a regex.
    """

    videos: VideoRows
    group: str | None = None
    shared: list[int] | None = None
    classes_left_out: list[str] = field(default_factory=list)
    num_left_out: int = 0


def read_pairs(path: Path) -> dict[str, str]:
    """Read a csv file of two columns, a class of the list and the model's class for it. Raises DataListError."""
    pairs: dict[str, str] = {}
    for number, row in enumerate(csv.reader(io.StringIO(read_text(path))), start=1):
        names = [name.strip() for name in row]
        if not any(names):
            continue
        if len(names) != 2 or not all(names):
            raise DataListError(f"{path}: line {number}: {','.join(row)!r} is not two class names with a comma between")
        if pairs.setdefault(names[0], names[1]) != names[1]:
            raise DataListError(f"{path}: line {number}: {names[0]} has a second class; a class of the list has one")
    if not pairs:
        raise DataListError(f"{path}: is empty; it names a class of the list and the model's class for it in each line")
    return pairs


def share(videos: VideoRows, theirs: Sequence[str], ours: Sequence[str], path: Path) -> OtherList:
    """Take the videos of classes that the pairs of `path` name, under the model's labels.

    Raises DataListError for pairs that name a class that either side does not have.
    """
    pairs = read_pairs(path)
    for names, known, whose in ((pairs.keys(), theirs, "the list"), (pairs.values(), ours, "the model")):
        for name in names:
            if name not in known:
                raise DataListError(f"{path}: {name} is no class of {whose}; {did_you_mean(name, known)}")
    label_K = np.array([ours.index(pairs[name]) if name in pairs else -1 for name in theirs], dtype=np.int64)
    label_N = label_K[videos.labels_N]
    kept = videos.select(label_N >= 0)
    kept.labels_N = label_N[label_N >= 0]
    left_out = [name for name in theirs if name not in pairs]
    return OtherList(kept, None, sorted(set(label_K[label_K >= 0].tolist())), left_out, len(videos) - len(kept))
