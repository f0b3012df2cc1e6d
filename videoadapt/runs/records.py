"""JSON records read back: what an editor or another version made of one is a line with its key, its value, what is allowed."""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from videoadapt.errors import VideoAdaptError, why_not_read
from videoadapt.files import as_record, read_jsonl
from videoadapt.paths import check_regular, exists

_MOST_SHOWN = 60  # characters of a value


class Shape(BaseModel):
    """What the keys of a record hold, by their types; keys that it does not name may hold anything."""

    model_config = ConfigDict(extra="allow", strict=True)


def read_record(path: Path, shape: type[Shape], advice: str) -> dict[str, Any] | None:
    """The record in a file, None without one; `advice`: what to do about a damaged one ("delete it, and test the run again").

    Raises VideoAdaptError for a file that cannot be read, holds no record, or holds one of another shape.
    """
    if not (os.path.islink(path) or exists(path)):
        return None
    check_regular(path)
    try:
        found = as_record(path.read_bytes())
    except OSError as error:
        raise VideoAdaptError(f"{path}: cannot be read: {why_not_read(error)}") from error
    if found is None:
        raise VideoAdaptError(f"{path}: is damaged; {advice}")
    if problem := _problem(found, shape):
        raise VideoAdaptError(f"{path}: {problem}; {advice}")
    return found


def read_records(path: Path, shape: type[Shape]) -> list[dict[str, Any]]:
    """Those of a file with one a line, as `read_jsonl`; raises VideoAdaptError that names the first line of another shape."""
    found = read_jsonl(path)
    for number, record in enumerate(found, start=1):
        if problem := _problem(record, shape):
            raise VideoAdaptError(f"{path}: line {number}: {problem}; delete that line")
    return found


def _problem(record: dict[str, Any], shape: type[Shape]) -> str:
    try:
        shape.model_validate(record)
    except ValidationError as error:
        return first_of(error)
    return ""


def first_of(error: ValidationError) -> str:
    """The first key that holds something else than it should, and what that would be."""
    first = error.errors(include_url=False)[0]
    key, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if first["type"] in ("missing", "value_error"):  # the latter: of keys that belong together
        return f"{key} is missing" if first["type"] == "missing" else ": ".join(filter(None, [key, what]))
    if first["type"] in ("model_type", "dict_type"):
        what = "input should be keys with values"
    said = repr(first["input"])
    shown = said if len(said) <= _MOST_SHOWN else f"{said[:_MOST_SHOWN]}..."
    return f"{key} = {shown}: {what[0].lower()}{what[1:]}"
