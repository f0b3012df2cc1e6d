"""List and class files: names checked, written and read."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

from videoadapt.data.columns import COLUMNS, IN_FRAMES
from videoadapt.data.label_sets import MOST_DIGITS
from videoadapt.data.structures import Video
from videoadapt.errors import DataListError
from videoadapt.files import write_text
from videoadapt.paths import why_endless, why_unreadable
from videoadapt.video.part import AnyPart, FramePart

_HEADER = {
    "path",
    "paths",
    "file",
    "filename",
    "video",
    "videos",
    "name",
    "id",
    "clip",
    "label",
    "labels",
    "class",
    "target",
}


def write_list(path: Path, videos: Sequence[Video]) -> None:
    """Write rows that `VideoList.load` reads back as they are. Raises DataListError for a name that no row can hold."""
    for video in videos:
        check_name(video.name)
    if any(video.part for video in videos):
        write_text(path, _with_parts(videos))
    else:
        write_text(path, "".join(f"{video.name} {video.label_text}\n" for video in videos))


def _with_parts(videos: Sequence[Video]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    in_frames = any(isinstance(video.part, FramePart) for video in videos)
    writer.writerow(IN_FRAMES if in_frames else COLUMNS)
    for video in videos:
        writer.writerow((video.name, *_values(video.part), video.label_text))
    return file.getvalue()


def _values(part: AnyPart | None) -> tuple[str, str]:
    """Of a part what stands between path and label."""
    if part is None:
        return "", ""
    if isinstance(part, FramePart):
        return f"{part.first:.0f}", "" if part.stop == math.inf else f"{part.stop - part.first:.0f}"
    return repr(part.start_sec), "" if part.end_sec == math.inf else repr(part.end_sec)


def check_name(name: str) -> None:
    """Raise DataListError when no row of a list can hold this name as it is."""
    if name != name.strip() or len(name.splitlines()) != 1:
        raise DataListError(f"{name!r}: rename it; a list cannot hold line breaks, or spaces at either end")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DataListError(f"{name!r}: rename it; a list holds UTF-8 names only") from error


def read_classes(path: Path) -> list[str]:
    """Read a file with one class name a line: UTF-8, with or without a byte-order mark, lines ended as Unix or Windows does.

    Raises DataListError when it holds fewer than two names, one twice, an empty line between them, or numbers that say
    another order than the lines do.
    """
    names = [line.removesuffix("\r") for line in read_text(path).rstrip("\r\n").split("\n")]
    lines: dict[str, int] = {}
    for line, name in enumerate(names, start=1):
        if not name.strip():
            raise DataListError(f"{path}: line {line} is empty; a class name stands on each line")
        if lines.setdefault(name, line) != line:
            raise DataListError(f"{path}: {name!r} appears twice (lines {lines[name]} and {line}); take one out")
    if len(names) < 2:
        raise DataListError(f"{path}: holds {names[0]!r} alone; expected at least two class names, one a line")
    _check_numbered(path, names)
    return names


def _check_numbered(path: Path, names: Sequence[str]) -> None:
    """Refuse the numbers of labels beside names in another order than the lines, or below a header: each would name another.

    `level 1`, `level 10`, `level 2` are names.
    """
    alone = "a class file holds the names alone, in the order of the labels from 0"
    for pattern in (r"(?P<number>\d{1,9})[\s,;:]+(?P<name>.*\S)\s*", r"(?P<name>.*\S)[\s,;:]+(?P<number>\d{1,9})\s*"):
        found = [re.fullmatch(pattern, name) for name in names]
        is_header = found[0] is None and bool(_HEADER & set(re.split(r"[^a-z]+", names[0].lower())))
        numbered = [match for match in found if match is not None]
        numbers = [int(match["number"]) for match in numbered]
        in_order = list(range(min(numbers, default=0), min(numbers, default=0) + len(names) - is_header))
        if sorted(numbers) != in_order or len({match["name"] for match in numbered}) < len(numbers):
            continue
        if is_header:
            raise DataListError(f"{path}: line 1 is {names[0]!r}, a header; take it and the numbers out: {alone}")
        for label, (name, number, expected) in enumerate(zip(names, numbers, in_order, strict=True)):
            if number != expected:
                raise DataListError(f"{path}: line {label + 1} is {name!r}, and stands for label {label}; {alone}")


def read_text(path: Path) -> str:
    """The content of a text file that people write: UTF-8, without its byte-order mark. Raises DataListError."""
    if endless := why_endless(path):
        raise DataListError(f"{path}: cannot be read: {endless}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataListError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        said = why_unreadable(path) or getattr(error, "strerror", None) or error
        raise DataListError(f"{path}: cannot be read: {said}") from error


def why_no_file(row: str) -> str:
    """Say in brackets that what stands before the label looks like the part of a film; "" where it does not."""
    if re.search(r"\.\w+([\s,;]+[\d:.]+){2}[\s,;]+\d+$", row):
        return f" (if a start and an end stand before the label: put commas between, and the first row {','.join(COLUMNS)})"
    if counts := re.search(r"(\s\d+){2,}$", row):
        also = ", or [path,offset,num_frames,label]" if len(counts[0].split()) > 2 else ""
        return f" (if a number of frames stands before the label: data.columns [path,num_frames,label]{also}, or as first row)"
    return ""


def why_no_row(row: str, is_first: bool) -> str:
    """Say in brackets what keeps a row of a list from being `path label`, where it can be told; "" where it cannot."""
    label = row.rpartition(" ")[2]
    if is_first and "," in row and re.search(r"start|begin|end", row.lower()) and not re.search(r"\.\w+,|\d", row):
        return f" (a header; the columns that are read are called {','.join(COLUMNS)})"
    if any(part.isdecimal() and len(part) > MOST_DIGITS for part in label.split(",")):
        return f" (a label has more than {MOST_DIGITS} digits; write the number of its line in the class file, from 0)"
    if re.search(r"\s\d+(,\d+)+$", row):
        return " (several labels: set data.labels multi, of prepare --labels multi)"
    if hint := why_no_file(row):
        return hint
    if re.search(r"\s\d+,\s+\d+$", row):
        return " (several labels: write no space after the comma)"
    if row.rpartition("\t")[2].isdecimal():
        return " (the label follows a tab; write a space)"
    if mark := re.search(r"([,;])\s*\d+$", row):
        return f" (a {'comma' if mark[1] == ',' else 'semicolon'} stands before the label; write a space)"
    if is_first and _HEADER & set(re.split(r"[\s,;_]+", row.lower())) and "." not in row:
        return " (a header; take this line out)"
    if re.match(r"\d+[\s,;]+\D.*\.\w+$", row):
        return " (the label stands first; write it last)"
    if re.fullmatch(r"[+-]\d+", label):
        return " (labels count from 0)"
    if named := re.match(r"[^,;]*\.\w+[\s,;]+(\D.*)$", row):
        return f" (a name, {named[1]!r}, stands for the label; write the number of its line in the class file, from 0)"
    return ""
