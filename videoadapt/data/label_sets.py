"""Labels as the rows of a list write them: one of a clip, or several."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, TypeAlias, TypeVar

Labels: TypeAlias = tuple[int, ...]  # of one clip, in ascending order
Kind: TypeAlias = Literal["single", "multi"]
Label = TypeVar("Label")
Key = TypeVar("Key")

MOST_DIGITS = 18  # of a label; more do not fit into 64 bits
NONE = "-"  # where a clip has no label


class Notation(NamedTuple):
    """How `read` understands what stands for the label of a row, None where it is none, and that in words."""

    read: Callable[[str], Labels | None]
    row: str
    expected: str


def _one_label(text: str) -> Labels | None:
    return (int(text),) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def _several_labels(text: str) -> Labels | None:
    """Numbers with commas between, in any order; of none `-`, or in a column nothing."""
    if text in ("", NONE):
        return ()
    found = [_one_label(part.strip()) for part in text.split(",")]
    return None if None in found else tuple(sorted({label for one in found if one for label in one}))


NOTATIONS: dict[Kind, Notation] = {
    "single": Notation(_one_label, "`path label` with a whole number as label", "expected a whole number, from 0"),
    "multi": Notation(
        _several_labels,
        "`path labels` with whole numbers and commas between them, as 0,3, or - for none",
        "expected whole numbers from 0 with commas between, as 0,3, or - for none",
    ),
}


def text_of(labels: Labels) -> str:
    """As a row of a list has them: 0,3 or -."""
    return ",".join(map(str, labels)) or NONE


def joined(rows: Iterable[tuple[Key, Labels, int]]) -> list[tuple[Key, Labels, int]]:
    """Rows of one key as one, which has the labels of all, and the place and the line of the first."""
    found: dict[Key, tuple[set[int], int]] = {}
    for key, labels, line in rows:
        found.setdefault(key, (set(), line))[0].update(labels)
    return [(key, tuple(sorted(labels)), line) for key, (labels, line) in found.items()]
