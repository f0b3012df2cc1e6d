"""`key value` and `key=value` of a command line -> a nested mapping, and back: text for a key that takes text, else yaml."""

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from videoadapt.config.schema import Config
from videoadapt.config.yaml_files import merge, parse_yaml
from videoadapt.errors import ConfigError

_NULL = ("", "~", "null", "Null", "NULL")  # as yaml spells it


class ArgumentText(str):
    """What the command line says for an argument of a component: it is read when the component's signature is known."""

    __slots__ = ()


def parse_overrides(overrides: Sequence[str] | Mapping[str, Any], schema: type[BaseModel] = Config) -> dict[str, Any]:
    """Nest the tokens of a command line, or a mapping of dotted keys to values, which are taken as they are.

    A key of `schema`, or of a config, that takes text or a path gets the text as it stands; the others are yaml. Arguments
    of components stay ArgumentText. Raises ConfigError for a key without a value, and TypeError for a single string.
    """
    merged: dict[str, Any] = {}
    pairs = overrides.items() if isinstance(overrides, Mapping) else _values(split_tokens(overrides), schema)
    for key, value in pairs:
        nested = str(value) if isinstance(value, Path) else value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merged = merge(merged, nested)
    return merged


def split_tokens(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """The key and the text of each `key value` and `key=value`.

    Raises ConfigError for what is neither, TypeError for one string in place of several.
    """
    if isinstance(overrides, str):
        raise TypeError(f"overrides = {overrides!r}: expected a list of strings, or a mapping of keys to values")
    tokens = iter(overrides)
    found: list[tuple[str, str]] = []
    for token in tokens:
        key, equals, text = token.partition("=")
        if not re.fullmatch(r"[A-Za-z_][\w.]*", key):
            raise ConfigError(
                f"override '{token}': expected `key value` or `key=value` with a dotted key{_if_torn(found, token)}"
            )
        if not equals:
            following = next(tokens, None)
            if following is None:
                raise ConfigError(f"override '{key}': the value is missing; write `{key} VALUE`{_if_one(found, key)}")
            text = following
        found.append((key, text))
    return found


def _if_one(before: Sequence[tuple[str, str]], word: str) -> str:
    """What to do where a shell has made two words of one value."""
    if not before or "." in word:
        return ""
    key, text = before[-1]
    return f", or, if `{text} {word}` is one value of {key}, quote it: '{key}={text} {word}'"


def _if_torn(before: Sequence[tuple[str, str]], word: str) -> str:
    """What to do where a shell has parted a list or a mapping, [fog, h264], at its space."""
    key, text = before[-1] if before else ("", "")
    is_open = text.startswith(("[", "{")) and not text.endswith(("]", "}"))
    return f"; if `{text} {word}` is one value of {key}, quote it: '{key}={text} {word}'" if is_open else ""


def as_token(key: str, value: Any) -> str:
    """The `key=value` that `parse_overrides` and `load_config` read back as this value."""
    annotation = _annotation(key, Config)
    takes_text = annotation is ArgumentText or {str, Path} & set(_alternatives(annotation))
    return f"{key}={value if isinstance(value, str) and takes_text else json.dumps(value)}"


def read_text(key: str, text: str, annotation: Any) -> Any:
    """The value that a text stands for where a value of the type `annotation` is taken.

    Text stays as it is where text is taken, except what is null, a number, or a list or mapping in its brackets, where
    these are taken as well. All else is yaml. Raises ConfigError for what is no yaml, and for a path without a letter.
    """
    kinds = set(_alternatives(annotation))
    if not kinds & {str, Path}:
        return parse_yaml(text, f"override '{key}'")
    if text in _NULL and types.NoneType in kinds:
        return None
    if not text and str not in kinds:
        raise ConfigError(f"override '{key}': the value is empty; write `{key}=.` for the folder where you are")
    try:
        value = parse_yaml(text, key)
    except ConfigError:
        return text
    if isinstance(value, dict):
        return value if text.lstrip().startswith("{") and any(_is_mapping(kind) for kind in kinds) else text
    if isinstance(value, list):
        return value if text.lstrip().startswith("[") and any(get_origin(kind) is list for kind in kinds) else text
    return value if type(value) in kinds - {str, types.NoneType} else text


def _values(tokens: Sequence[tuple[str, str]], schema: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for key, text in tokens:
        annotation = _annotation(key, schema if key.partition(".")[0] in schema.model_fields else Config)
        yield key, ArgumentText(text) if annotation is ArgumentText else read_text(key, text, annotation)


def _annotation(key: str, schema: type[BaseModel]) -> Any:
    """The type that the schema gives a dotted key, ArgumentText for what stands in a component; None for an unknown key."""
    section: Any = schema
    for part in key.split("."):
        kinds = list(_alternatives(section))
        if any(get_origin(kind) is dict for kind in kinds):
            return ArgumentText
        models = [kind for kind in kinds if hasattr(kind, "model_fields") and part in kind.model_fields]
        if not models:
            return None
        section = models[0].model_fields[part].annotation
    return section


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, without what is only said about them."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is dict or kind is dict or (isclass(kind) and issubclass(kind, BaseModel))
