"""What authors of data sets publish beside the videos, read: text, CSV and JSON, also of a download that is no whole one.

Each function raises DataListError, which names the file and the row or the key that is not as published.
"""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videoadapt.data.list_files import read_text
from videoadapt.errors import DataListError
from videoadapt.paths import files_below


def only_file(folder: Path, pattern: str) -> Path:
    """The one file below `folder` whose name fits. Raises DataListError for none, and for several."""
    found = files_below(folder, pattern)
    if len(found) != 1:
        shown = f"found {', '.join(map(str, found[:3]))}" if found else "found none"
        raise DataListError(f"{folder}: expected one file {pattern} in it or below, {shown}")
    return found[0]


def lines_of(path: Path) -> list[str]:
    """The lines of a text without the spaces at their ends, and none that is empty."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def csv_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV file without a header."""
    with _as_csv(path):
        return [*csv.reader(io.StringIO(read_text(path), newline=""))]


def csv_records(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file by its header, which has to name `columns`; "" where a row ends early."""
    with _as_csv(path):
        rows = [*csv.DictReader(io.StringIO(read_text(path), newline=""), restval="")]
    if missing := set(columns) - set(rows[0] if rows else ()):
        raise DataListError(f"{path}: has no column {min(missing)!r}")
    return rows


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # nested deeper than Python follows
        raise DataListError(f"{path}: is not JSON: {error}") from error


def read_films(path: Path, key: str, record: str) -> dict[str, Any]:
    """What a JSON file in ActivityNet's layout says of each film, under `key`; `record`: of one film, shown to people."""
    content = read_json(path)
    if isinstance(content, dict) and isinstance(films := content.get(key), dict):
        return films
    if not isinstance(content, dict):
        found = _kind(content)
    elif key in content:
        found = f"{_kind(content[key])} under {key!r}"
    else:
        found = f"an object with {', '.join(map(repr, content)) or 'nothing in it'}"
    raise DataListError(f'{path}: expected {{"{key}": {{film: {record}}}}}, as ActivityNet has it, found {found:.200}')


@contextmanager
def as_published(path: Path, what: object, expected: str = "") -> Iterator[None]:
    """A block that reads `what` of a file, and in which it turns out to be no such record; `expected`: what one looks like."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        shown, said = str(what)[:100], _said(error)
        said = f"{shown}: {said}; expected {expected}" if expected else f"{shown} is not as published: {said}"
        raise DataListError(f"{path}: {said}") from error


def _said(error: Exception) -> str:
    """What is wrong with a record, of the error that reading it raised."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    if isinstance(error, TypeError | AttributeError):
        return f"a value is of another kind ({error})"
    return str(error)


def _kind(value: object) -> str:
    """A value of JSON in words."""
    names = {type(None): "null", bool: "true or false", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


@contextmanager
def _as_csv(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:  # a field of more than 131,072 letters, as where a quotation mark is not closed
        raise DataListError(f"{path}: is not CSV: {error}; download it again") from error
