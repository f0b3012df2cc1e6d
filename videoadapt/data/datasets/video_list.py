"""Lists of `path label` rows: HMDB51, UCF101, Kinetics and SSv2 are yaml files over this one class."""

from collections.abc import Iterator
from pathlib import Path

from videoadapt.data.list_files import read_text, why_no_row
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError
from videoadapt.registry import DATASETS

_MOST_DIGITS = 18  # of a label; more do not fit into 64 bits
_SHOWN = 200  # characters of a row that is none


@DATASETS.register
class VideoList:
    """Text files with one video a row: its path below `data.root`, a space, its class index."""

    def __init__(self) -> None:
        self.class_names: list[str] | None = None

    def load(self, source: str, root: Path) -> VideoRows:
        """Read the list file `source`: UTF-8, with or without a byte-order mark, lines ended as Unix or Windows does.

        A path may hold spaces: the label is what follows the last one. Raises DataListError that names the first row that
        cannot be used and how many there are.
        """
        text = read_text(Path(source))
        problems: list[str] = []
        videos = VideoRows(root, _rows(text, problems))
        if problems:
            raise DataListError(
                f"{source}: {len(problems)} rows are not `path label` with a whole number as label, first {problems[0]}"
            )
        if not videos:
            raise DataListError(f"{source}: holds no videos; expected rows of `path label`")
        return videos


def _rows(text: str, problems: list[str]) -> Iterator[tuple[str, int, int]]:
    """(path, label, line) of every row; what is no such row goes to `problems`."""
    for line, row in enumerate(text.split("\n"), start=1):  # splitlines() would also part names at rarer characters
        if not (row := row.strip()):
            continue
        name, _, label = row.rpartition(" ")
        if name and label.isdecimal() and len(label) <= _MOST_DIGITS and not name.endswith((",", ";")):
            yield name.strip(), int(label), line
            continue
        row = row if len(row) <= _SHOWN else f"{row[:_SHOWN]}..."
        problems.append(f"line {line}: {row!r}{why_no_row(row, is_first=line == 1)}")
