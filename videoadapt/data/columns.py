"""Lists with named columns, commas or spaces between them: in any order, and with the part of a film that a row is of.

A part is said in seconds, or in frames as lists of mmaction2 and VideoMAE do: how many, and how many come before (`offset`).
"""

import csv
import math
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, get_args

from videoadapt.data.label_sets import MOST_DIGITS, NOTATIONS, Kind, Labels
from videoadapt.errors import counted
from videoadapt.video.part import AnyPart, FramePart, Part

Column: TypeAlias = Literal["path", "start_sec", "end_sec", "label", "offset", "num_frames", "group"]
ALLOWED: tuple[Column, ...] = get_args(Column)
COLUMNS: tuple[Column, ...] = ("path", "start_sec", "end_sec", "label")  # that lists with parts are written with
IN_FRAMES: tuple[Column, ...] = ("path", "offset", "num_frames", "label")
Listed: TypeAlias = tuple[str, Labels, int, AnyPart]  # name, labels, line, part


def header_in(row: str) -> list[Column] | None:
    """The names of the columns, where the first row of a list is these; a path and a label are always among them."""
    names = [name.strip().strip('"').lower() for name in row.split(",")]
    return None if problem_of(names) else [column for name in names for column in ALLOWED if column == name]


def problem_of(names: Sequence[str]) -> str | None:
    """What keeps names from being those of a list's columns."""
    if unknown := [name for name in names if name not in ALLOWED]:
        return f"unknown: {unknown[0]!r}; allowed: {', '.join(ALLOWED)}"
    if len(set(names)) != len(names) or not {"path", "label"} <= set(names):
        return "each once at most, path and label among them"
    if {"offset", "num_frames"} & set(names) and {"start_sec", "end_sec"} & set(names):
        return "a part is said in seconds or in frames, and not in both"
    return None


def rows_in_columns(
    text: str, columns: Sequence[Column], problems: list[str], kind: Kind = "single"
) -> Iterator[Listed]:
    """Every row below the header; what is wrong with one goes to `problems`. `kind`: how many labels a row has."""
    for line, of in _values_in(text, columns, problems):
        try:
            yield _row(of, line, kind)
        except ValueError as error:
            problems.append(f"line {line}: {','.join(of.values())[:200]!r}: {error}, of columns {','.join(columns)}")


def has_rows_of(columns: Sequence[Column], text: str) -> bool:
    """Whether any row of a list is of these columns, and its first row names none itself."""
    return header_in(text.partition("\n")[0]) is None and any(True for _ in rows_in_columns(text, columns, [], "multi"))


def groups_in(text: str, columns: Sequence[Column] | None) -> list[str]:
    """What the column `group` says of each row that `rows_in_columns` reads; [""] where there is no such column."""
    columns = header_in(text.partition("\n")[0]) or columns
    if columns is None or "group" not in columns:
        return [""]
    return [of["group"] for _, of in _values_in(text, columns, [])]


def _values_in(text: str, columns: Sequence[Column], problems: list[str]) -> Iterator[tuple[int, dict[Column, str]]]:
    """Line and values of every row below the header; those with more or fewer go to `problems`."""
    lines = text.split("\n")  # splitlines() would also part names at rarer characters
    skipped = int(header_in(lines[0]) is not None)
    ended = (f"{line}\n" for line in _with_commas(lines[skipped:], columns))
    reader = csv.reader(ended, skipinitialspace=True)
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:  # a row longer than csv allows
            problems.append(f"line {skipped + reader.line_num}: {error}")
            return
        if values is None:
            return
        line = skipped + reader.line_num
        if any(value.strip() for value in values):
            if len(values) == len(columns):
                yield line, dict(zip(columns, map(str.strip, values), strict=True))
                continue
            said = f"{counted(len(values), 'value')}; expected {len(columns)}"
            problems.append(f"line {line}: {','.join(values)[:200]!r}: {said}, of columns {','.join(columns)}")


def _with_commas(lines: list[str], columns: Sequence[Column]) -> Iterator[str]:
    """The lines, with commas where spaces stand between all values; only a path may hold spaces."""
    before = columns.index("path")
    after = len(columns) - 1 - before
    for line in lines:
        words = line.split()
        if "," in line or '"' in line or len(words) < len(columns):
            yield line
        else:
            (*_, rest) = line.strip().split(None, before)
            yield ",".join([*words[:before], *rest.rsplit(None, after)])


def _row(of: dict[Column, str], line: int, kind: Kind) -> Listed:
    """Raises ValueError that says what is wrong."""
    labels, name = NOTATIONS[kind].read(of["label"]), of["path"]
    if not name or "\n" in name:
        raise ValueError(f"path = {name!r}: is no path")
    if labels is None:
        raise ValueError(f"label = {of['label']!r}: {NOTATIONS[kind].expected}")
    part = _frames(of) if "offset" in of or "num_frames" in of else _seconds_of(of)
    if problem := part.problem:
        raise ValueError(problem)
    return name, labels, line, part


def _seconds_of(of: dict[Column, str]) -> Part:
    whole = Part()
    return Part(_seconds(of, "start_sec", whole.start_sec), _seconds(of, "end_sec", whole.end_sec))


def _frames(of: dict[Column, str]) -> FramePart:
    """Nothing in a column stands for a film's first frame, or for all the frames that it has."""
    for column in ("offset", "num_frames"):
        value = of.get(column, "")
        if value and not (value.isdecimal() and len(value) <= MOST_DIGITS):
            raise ValueError(f"{column} = {value!r}: expected a whole number, from 0")
    first = int(of.get("offset") or 0)
    return FramePart(first, first + int(of["num_frames"]) if of.get("num_frames") else math.inf)


def _seconds(of: dict[Column, str], column: Column, default: float) -> float:
    """A number, or where nothing stands, the film's own start or end."""
    if not (value := of.get(column, "")):
        return default
    try:
        return float(value) if value.lower().lstrip("+-") not in ("inf", "infinity") else float("nan")
    except ValueError:
        raise ValueError(f"{column} = {value!r}: expected seconds, such as 1.5") from None
