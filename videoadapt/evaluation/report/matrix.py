"""The confusion matrix of a page: a cell for each pair of classes that was seen, drawn by the template.

Shapes: K classes.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videoadapt.runs.drawing import shorten
from videoadapt.runs.lettering import on_one_line

_MOST_NAMED = 100  # classes; above, names would be smaller than their rows
_LETTER_PX = 6.2


class Cell(NamedTuple):
    """How many videos of the class `row` were called `column`, and which share of them that is."""

    row: int
    column: int
    videos: int
    share: float

    @property
    def depth(self) -> float:
        """How strong its colour is; the root keeps rare mistakes visible beside a full diagonal."""
        return round(0.12 + 0.88 * self.share**0.5, 2)


class Matrix(NamedTuple):
    """What the template draws; lengths in its own units."""

    names: list[str]
    labels: list[str]  # as they stand beside it; [] where there are too many
    videos: list[int]  # of each class
    cells: list[Cell]
    side: int  # of a cell
    margin: int  # for names

    @property
    def most_confused(self) -> list[Cell]:
        """The pairs of different classes with the most videos."""
        wrong = [cell for cell in self.cells if cell.row != cell.column]
        return sorted(wrong, key=lambda cell: (-cell.videos, -cell.share))[:20]


def matrix(counts_KK: NDArray[np.int64], videos_K: NDArray[np.int64], names: Sequence[str]) -> Matrix:
    """Rows are true classes; `videos_K` counts those that could not be read, too, which are in no cell."""
    cells = [
        Cell(row, column, int(counts_KK[row, column]), float(counts_KK[row, column] / videos_K[row]))
        for row, column in np.argwhere(counts_KK > 0).tolist()
    ]
    labels = [shorten(on_one_line(name)) for name in names] if len(names) <= _MOST_NAMED else []
    widest = max((sum(_LETTER_PX * (2 if _is_wide(letter) else 1) for letter in label) for label in labels), default=0)
    side = 20 if len(names) <= 60 else 14 if labels else 5
    return Matrix(list(names), labels, videos_K.tolist(), cells, side, int(widest) + 12)


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"
