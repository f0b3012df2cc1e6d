"""What each key of a config alters, and what it is where nothing is said, read off the schema."""

from collections.abc import Iterator, Mapping
from inspect import isclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from videoadapt.config.marks import Alters
from videoadapt.config.schema import Config


def alters(key: str) -> Alters:
    """Return what another value of a dotted key alters; a key inside a component or a section alters what that does.

    Of a key that the schema does not have, such as one of an older version, nothing is known: UPDATES.
    """
    section: type[BaseModel] | None = Config
    for part in key.split("."):
        if section is None or part not in section.model_fields:
            break
        field = section.model_fields[part]
        if (mark := _mark(field)) is not None:
            return mark
        section = _section(field)
    return Alters.UPDATES


def keys_that_alter(what: Alters) -> list[str]:
    """Return the dotted keys, whole sections among them, whose other value alters `what`, in the schema's order."""
    return [key for key, mark in marked_keys() if mark is not None and what in mark]


def marked_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Alters | None]]:
    """Yield each key, or the section that it is in, with its mark; None where neither says what it alters."""
    for name, field in section.model_fields.items():
        mark, inner = _mark(field), _section(field)
        if mark is None and inner is not None:
            yield from marked_keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", mark


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dumped config of an older version with the keys that came later, at their defaults: those keep what was.

    Components are left as they are, and so is a section that is not there.
    """
    return _filled(values, Config(output=Path()).model_dump(mode="json"), Config)


def _filled(values: Mapping[str, Any], defaults: dict[str, Any], section: type[BaseModel]) -> dict[str, Any]:
    found = dict(values)
    for name, field in section.model_fields.items():
        inner = _section(field)
        if inner is None:
            found.setdefault(name, defaults[name])
        elif isinstance(found.get(name), Mapping):
            found[name] = _filled(found[name], defaults[name], inner)
    return found


def _mark(field: Any) -> Alters | None:
    return next((found for found in field.metadata if isinstance(found, Alters)), None)


def _section(field: Any) -> type[BaseModel] | None:
    return field.annotation if isclass(field.annotation) and issubclass(field.annotation, BaseModel) else None
