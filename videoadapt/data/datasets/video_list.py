"""Lists of `path label` rows: HMDB51, UCF101, Kinetics and SSv2 are yaml files over this one class."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from videoadapt.data.columns import Column, header_in, rows_in_columns
from videoadapt.data.label_sets import NOTATIONS, Kind, Labels, joined
from videoadapt.data.list_files import read_text, why_no_row
from videoadapt.data.videos import WHOLE, VideoRows
from videoadapt.errors import DataListError, counted
from videoadapt.registry import DATASETS

_SHOWN = 200  # characters of a row that is none


@DATASETS.register
class VideoList:
    """Text files with one video a row: its path below `data.root`, a space, its class index.

    With `columns`, or where the first row names them, rows are comma-separated values, which may say the part of a film.
    With `labels` multi the class indices 0,3 stand in place of one, or in a row each.
    """

    def __init__(self) -> None:
        self.class_names: list[str] | None = None
        self.columns: Sequence[Column] | None = None
        self.labels: Kind = "single"

    def load(self, source: str, root: Path) -> VideoRows:
        """Read the list file `source`: UTF-8, with or without a byte-order mark, lines ended as Unix or Windows does.

        A path may hold spaces: the label is what follows the last one. Several labels of one path, or of one part of a film,
        make one video, in the place of the first row. Raises DataListError that names the first row that cannot be used and
        how many there are.
        """
        text = read_text(Path(source))
        header = header_in(text.partition("\n")[0])
        if header and self.columns and header != self.columns:
            raise DataListError(
                f"{source}: its first row names the columns {header}, and data.columns = {self.columns}; take one of them out"
            )
        columns = header or self.columns
        if columns is None:
            videos = _plain(source, text, root, self.labels)
        else:
            videos = _with_columns(source, text, root, columns, self.labels)
        if not videos:
            raise DataListError(f"{source}: holds no videos; expected rows of `{','.join(columns or ['path label'])}`")
        return videos


def read_list(source: str, root: Path, labels: Kind, columns: Sequence[Column] | None = None) -> VideoRows:
    """What a VideoList with these labels and columns loads."""
    videos = VideoList()
    videos.labels, videos.columns = labels, columns
    return videos.load(source, root)


def _plain(source: str, text: str, root: Path, kind: Kind) -> VideoRows:
    problems: list[str] = []
    rows = _rows(text, problems, kind)
    if kind == "single":
        videos = VideoRows(root, ((name, labels[0], line) for name, labels, line in rows))
    else:
        merged = joined(rows)
        videos = VideoRows(
            root, ((name, 0, line) for name, _, line in merged), None, [labels for _, labels, _ in merged]
        )
    if problems:
        raise DataListError(
            f"{source}: {counted(len(problems), 'row is', 'rows are')} not {NOTATIONS[kind].row}, first {problems[0]}"
        )
    return videos


def _with_columns(source: str, text: str, root: Path, columns: Sequence[Column], kind: Kind) -> VideoRows:
    problems: list[str] = []
    rows = [((name, part), labels, line) for name, labels, line, part in rows_in_columns(text, columns, problems, kind)]
    if problems:
        raise DataListError(f"{source}: {counted(len(problems), 'row')} cannot be used, first {problems[0]}")
    rows = joined(rows) if kind == "multi" else rows
    parts = [part for (_, part), _, _ in rows]
    named = ((name, labels[0] if kind == "single" else 0, line) for (name, _), labels, line in rows)
    sets = [labels for _, labels, _ in rows] if kind == "multi" else None
    return VideoRows(root, named, None if set(parts) <= {WHOLE} else parts, sets)


def _rows(text: str, problems: list[str], kind: Kind) -> Iterator[tuple[str, Labels, int]]:
    """(path, labels, line) of every row; what is no such row goes to `problems`."""
    read = NOTATIONS[kind].read
    for line, row in enumerate(text.split("\n"), start=1):  # splitlines() would also part names at rarer characters
        if not (row := row.strip()):
            continue
        name, _, label = row.rpartition(" ")
        if name and (labels := read(label)) is not None and not name.endswith((",", ";")):
            yield name.strip(), labels, line
            continue
        row = row if len(row) <= _SHOWN else f"{row[:_SHOWN]}..."
        problems.append(f"line {line}: {row!r}{why_no_row(row, is_first=line == 1)}")
