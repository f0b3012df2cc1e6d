"""A list of videos as a few arrays: a tenth of the memory of a list of objects. A `Video` is made when it is asked for.

Shapes: N videos; the 2 of a part are its start and its end, in seconds or frames.
"""

import operator
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from videoadapt.data.label_sets import Labels, text_of
from videoadapt.data.structures import Video, id_of
from videoadapt.video.part import AnyPart, Part

WHOLE = Part()


class VideoRows(Sequence[Video]):
    """Videos below `root`, given as (name, label, line of the list); `labels_N` and `lines_N` are int64 arrays.

    `parts_N2` are from 0 to inf of a film that is taken whole, and None where all are: seconds, or frames, as `unit` says.
    With `label_sets`, of each video those it has, labels are their places among the different `sets`, and None are those of
    a list with one label a video.
    """

    def __init__(
        self,
        root: Path,
        rows: Iterable[tuple[str, int, int]],
        parts: Sequence[AnyPart] | None = None,
        label_sets: Sequence[Labels] | None = None,
    ):
        names, stops, labels, lines = bytearray(), array("q", [0]), array("q"), array("q")
        for name, label, line in rows:
            names += name.encode()
            stops.append(len(names))
            labels.append(label)
            lines.append(line)
        edges = np.array(stops)
        self.root = root
        self._names = np.frombuffer(bytes(names), dtype=np.uint8)
        self._starts_N, self._stops_N = edges[:-1], edges[1:]
        self.labels_N: NDArray[np.int64] = np.array(labels, dtype=np.int64)
        self.lines_N: NDArray[np.int64] = np.array(lines, dtype=np.int64)
        self.unit: type[AnyPart] = type(parts[0]) if parts else Part
        self.parts_N2 = None if parts is None else np.array(parts, dtype=np.float64).reshape(-1, 2)
        self.sets: list[Labels] | None = None
        if label_sets is not None:
            place = {labels: number for number, labels in enumerate(dict.fromkeys(label_sets))}
            self.sets, self.labels_N = list(place), np.array([place[labels] for labels in label_sets], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels_N)

    @overload
    def __getitem__(self, row: int) -> Video: ...
    @overload
    def __getitem__(self, row: slice) -> "VideoRows": ...
    def __getitem__(self, row: int | slice) -> "Video | VideoRows":
        if isinstance(row, slice):
            return self.select(np.arange(len(self))[row])
        name = self._name(operator.index(row))
        label, labels = int(self.labels_N[row]), None
        if self.sets is not None:
            label, labels = -1, self.sets[label]
        return Video(name, self.root / name, label, int(self.lines_N[row]), self._part(row), labels)

    def select(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "VideoRows":
        """The videos at these rows, or where the mask (N,) is true; the names are shared."""
        part = VideoRows(self.root, ())
        part._names, part._starts_N, part._stops_N = self._names, self._starts_N[chosen], self._stops_N[chosen]
        part.labels_N, part.lines_N = self.labels_N[chosen], self.lines_N[chosen]
        part.unit = self.unit
        part.parts_N2 = None if self.parts_N2 is None else self.parts_N2[chosen]
        part.sets = self.sets
        return part

    def labels(self) -> list[Labels]:
        """The labels of each video, one or several or none, in order."""
        return [(label,) if self.sets is None else self.sets[label] for label in self.labels_N.tolist()]

    def label_texts(self) -> Iterator[str]:
        """The labels of each video as a row of a list has them."""
        return map(text_of, self.labels())

    def highest_label_N(self) -> NDArray[np.int64]:
        """The highest label of each video (N,), -1 where it has none."""
        return np.array([max(labels, default=-1) for labels in self.labels()], dtype=np.int64)

    def targets_NK(self, num_classes: int) -> NDArray[np.bool_]:
        """Which labels each video has, (N, K)."""
        targets_NK = np.zeros((len(self), num_classes), dtype=np.bool_)
        for row, labels in enumerate(self.labels()):
            targets_NK[row, list(labels)] = True
        return targets_NK

    def videos_of_each_class(self, num_classes: int) -> NDArray[np.int64]:
        """How many videos have each label, (K,)."""
        if self.sets is None:
            return np.bincount(self.labels_N, minlength=num_classes)
        times = np.bincount(self.labels_N, minlength=len(self.sets))
        videos_K = np.zeros(num_classes, dtype=np.int64)
        for labels, number in zip(self.sets, times, strict=True):
            videos_K[list(labels)] += number
        return videos_K

    def ids(self) -> Iterator[str]:
        """The ids in order, without making a `Video` of each."""
        if self.parts_N2 is None:
            return self.names()
        return (id_of(self._name(row), self._part(row)) for row in range(len(self)))

    def names(self) -> Iterator[str]:
        """The paths as the list spells them, in order: of all parts of a film the same."""
        return map(self._name, range(len(self)))

    def paths(self) -> Iterator[str]:
        """The paths in order, as strings: for a look at every file, `Path` objects would take most of the time."""
        root = str(self.root)
        return (os.path.join(root, name) for name in self.names())

    def _part(self, row: int) -> AnyPart | None:
        part = WHOLE if self.parts_N2 is None else self.unit(*self.parts_N2[row].tolist())
        return None if part == WHOLE else part

    def _name(self, row: int) -> str:
        return self._names[self._starts_N[row] : self._stops_N[row]].tobytes().decode()
