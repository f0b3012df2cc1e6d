"""Keys that a pydantic schema refuses, in words: the key as it was written, its value, what is allowed, what was meant."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from videoadapt.errors import did_you_mean


def explain(
    error: ValidationError, schema: type[BaseModel], *, also: Sequence[str] = (), word: str = "key"
) -> list[str]:
    """One line for each key that pydantic refuses: the key as it was written, its value, and what is allowed.

    `also`: keys that are known besides those of the schema; `word`: what a key is called in this place.
    """
    lines: dict[str, list[str]] = {}
    for item in error.errors(include_url=False):
        keys, allowed = _written(item, schema)
        key, said = ".".join(keys), item["msg"].removeprefix("Value error, ")
        if item["type"] in ("list_type", "tuple_type"):
            said = f"Input should be a list{as_list(item['input'])}"
        if item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]:
            continue  # short of what its elements' own lines refuse
        if item["type"] == "extra_forbidden":
            lines[key] = [f"{key}: unknown {word}; {_meant(keys, {*allowed, *also}, schema)}"]
        elif item["type"] == "missing":
            hint = "; set it in the yaml, or on the command line" if word == "key" else ""
            lines[key] = [f"{key}: a value is required{hint}"]
        elif key in lines:  # another alternative of a union
            lines[key].append(f"{said[0].lower()}{said[1:]}")
        else:
            lines[key] = [f"{key} = {item['input']!r}: {said[0].lower()}{said[1:]}"]
    return [", or ".join(parts) for parts in lines.values()]


def as_list(value: object) -> str:
    """How the list is written that a word, words or a number were meant for; "" for what is none of them."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    parts = re.split(r"[,;\s]+", str(value).strip(" ,;[]()"))
    return f"; write [{', '.join(parts)}], in quotes on a command line"


def _written(item: Any, schema: type[BaseModel]) -> tuple[list[str], set[str]]:
    """The keys that lead to an error, and those that are allowed where the last one stands.

    Pydantic's location also names the alternative of a union that was tried, which is no key of ours.
    """
    models, keys, allowed = [schema], [], set()
    for place, part in enumerate(item["loc"], start=1):
        holders = [model for model in models if part in model.model_fields]
        is_unknown = item["type"] == "extra_forbidden" and place == len(item["loc"])
        if not (holders or is_unknown or isinstance(part, int)):
            continue
        keys.append(str(part))
        if holders or is_unknown:
            allowed = {name for model in models for name in model.model_fields}
            models = [inner for model in holders for inner in _models_in(model.model_fields[part].annotation)]
    return keys, allowed


def _meant(keys: list[str], allowed: set[str], schema: type[BaseModel]) -> str:
    """What an unknown key may stand for: itself in another section, a slip of the pen, or one with its words."""
    said, like = did_you_mean(keys[-1], allowed), keys_like(".".join(keys), schema)
    slip = difflib.get_close_matches(keys[-1], allowed, n=1, cutoff=0.74)
    close = [key for key in like if not slip and (key.rpartition(".")[2] == keys[-1] or said.startswith("allowed"))]
    return f"did you mean '{close[0]}'? allowed: {said.partition('allowed: ')[2]}" if close else said


def keys_like(key: str, schema: type[BaseModel]) -> list[str]:
    """The dotted keys of a schema whose last part has all words of the last part of `key`, those beside it first."""
    section, _, name = key.rpartition(".")
    words = set(re.split("[_-]", name.lower()))

    def distance(other: str) -> tuple[bool, bool, int]:
        place, _, last = other.rpartition(".")
        return place != section, not last.startswith(name.lower()), len(last)

    return sorted((k for k in _keys_of(schema) if words <= set(k.rpartition(".")[2].split("_"))), key=distance)


def _keys_of(schema: type[BaseModel], section: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        yield section + name
        for inner in _models_in(field.annotation):
            yield from _keys_of(inner, f"{section}{name}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if hasattr(annotation, "model_fields"):
        yield annotation
    for part in () if get_origin(annotation) is dict else get_args(annotation):  # a mapping's names are its user's
        yield from _models_in(part)
