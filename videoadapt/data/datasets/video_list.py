"""Lists of `path label` rows: HMDB51, UCF101, Kinetics and SSv2 are yaml files over this one class."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from videoadapt.data.columns import MOST_DIGITS, Column, header_in, rows_in_columns
from videoadapt.data.list_files import read_text, why_no_row
from videoadapt.data.videos import WHOLE, VideoRows
from videoadapt.errors import DataListError
from videoadapt.registry import DATASETS

_SHOWN = 200  # characters of a row that is none


@DATASETS.register
class VideoList:
    """Text files with one video a row: its path below `data.root`, a space, its class index.

    With `columns`, or where the first row names them, rows are comma-separated values, which may say the part of a film.
    """

    def __init__(self) -> None:
        self.class_names: list[str] | None = None
        self.columns: Sequence[Column] | None = None

    def load(self, source: str, root: Path) -> VideoRows:
        """Read the list file `source`: UTF-8, with or without a byte-order mark, lines ended as Unix or Windows does.

        A path may hold spaces: the label is what follows the last one. Raises DataListError that names the first row that
        cannot be used and how many there are.
        """
        text = read_text(Path(source))
        header = header_in(text.partition("\n")[0])
        if header and self.columns and header != self.columns:
            raise DataListError(
                f"{source}: its first row names the columns {header}, and data.columns = {self.columns}; take one of them out"
            )
        columns = header or self.columns
        videos = _plain(source, text, root) if columns is None else _with_columns(source, text, root, columns)
        if not videos:
            raise DataListError(f"{source}: holds no videos; expected rows of `{','.join(columns or ['path label'])}`")
        return videos


def _plain(source: str, text: str, root: Path) -> VideoRows:
    problems: list[str] = []
    videos = VideoRows(root, _rows(text, problems))
    if problems:
        raise DataListError(
            f"{source}: {len(problems)} rows are not `path label` with a whole number as label, first {problems[0]}"
        )
    return videos


def _with_columns(source: str, text: str, root: Path, columns: Sequence[Column]) -> VideoRows:
    problems: list[str] = []
    rows = list(rows_in_columns(text, columns, problems))
    if problems:
        raise DataListError(f"{source}: {len(problems)} rows cannot be used, first {problems[0]}")
    parts = [row[3] for row in rows]
    return VideoRows(root, (row[:3] for row in rows), None if set(parts) <= {WHOLE} else parts)


def _rows(text: str, problems: list[str]) -> Iterator[tuple[str, int, int]]:
    """(path, label, line) of every row; what is no such row goes to `problems`."""
    for line, row in enumerate(text.split("\n"), start=1):  # splitlines() would also part names at rarer characters
        if not (row := row.strip()):
            continue
        name, _, label = row.rpartition(" ")
        if name and label.isdecimal() and len(label) <= MOST_DIGITS and not name.endswith((",", ";")):
            yield name.strip(), int(label), line
            continue
        row = row if len(row) <= _SHOWN else f"{row[:_SHOWN]}..."
        problems.append(f"line {line}: {row!r}{why_no_row(row, is_first=line == 1)}")
