"""Yaml files with `_BASE_` -> one nested mapping. Scalars are read as YAML 1.2 has them."""

import difflib
import math
import re
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import yaml

from videoadapt.config.shipped import find_beside, find_config
from videoadapt.errors import ConfigError, why_not_read
from videoadapt.paths import why_endless

_DEEPEST, _MOST_VALUES = 50, 1_000_000
# a section whose keys stay when its name becomes another, but for these, which are of that name
_NAMED_SECTIONS = {"optim": ("options",)}
_FAST_SIZE = 16_384  # characters: more brackets than that would overflow the stack of the parser in C


class _Rules(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """YAML 1.2's plain scalars (`6e-4` is a float, `no` is a word) and no duplicate keys."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # PyYAML shares it otherwise
    file = ""  # what is read, for messages

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, KeyError, AttributeError) as error:  # what PyYAML raises for a tag like `!!int word`
            kind = str(node.tag).rpartition(":")[2]
            raise ConfigError(f"{self.place(node)}: not valid yaml: {str(node.value)[:40]!r} is no {kind}") from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # PyYAML says that no key can be a list or a mapping
            if key in seen:
                raise ConfigError(f"{self.place(key_node)}: key '{key}' appears twice; keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def place(self, node: yaml.Node) -> str:
        """File and line."""
        return f"{self.file}:{node.start_mark.line + 1}"


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+0123456789."),
):
    _Rules.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
# `010` is ten and `1:30` a word: no octal, no base 60.
_Rules.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


class _Loader(_Rules, yaml.SafeLoader):
    """Written in Python: slow, with good messages."""


class _FastLoader(_Rules, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Written in C, where PyYAML was built with it: much faster, which a sweep of hundreds of cells needs."""


def parse_yaml(text: str, name: str) -> Any:
    """Read one yaml value. Raises ConfigError, with `name` and the line, for what is no yaml."""
    try:
        with suppress(yaml.YAMLError, UnicodeEncodeError):  # the other one says what is wrong
            if len(text) < _FAST_SIZE:
                return _within_reason(_load(_FastLoader, text, name), name)
        return _within_reason(_load(_Loader, text, name), name)
    except yaml.MarkedYAMLError as error:
        where = f"{name}:{error.problem_mark.line + 1}" if error.problem_mark else name
        raise ConfigError(f"{where}: not valid yaml: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:  # a control character
        where = f"{name}:{text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(f"{where}: not valid yaml: {error.reason} (U+{error.character:04X})") from error
    except OverflowError as error:
        raise ConfigError(f"{name}: not valid yaml: a character beyond U+10FFFF") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: lists or mappings are nested too deeply") from error


def _within_reason(value: Any, name: str) -> Any:
    """Return what was read. Raises ConfigError for what nests deeper than any config, or is too large written out.

    A few lines of anchors (`*a`) can stand for billions of values, or for a list inside of itself.
    """
    sizes: dict[int, float] = {}  # of each list and mapping by its id; infinite while it is being counted

    def size(part: Any, depth: int) -> float:
        if not isinstance(part, dict | list | tuple | set):
            return 1
        if depth > _DEEPEST:
            raise ConfigError(f"{name}: lists or mappings are nested too deeply")
        if id(part) not in sizes:
            sizes[id(part)] = math.inf
            sizes[id(part)] = 1 + sum(
                size(inner, depth + 1) for inner in (part.values() if isinstance(part, dict) else part)
            )
        return sizes[id(part)]

    if size(value, 0) > _MOST_VALUES:
        raise ConfigError(f"{name}: its anchors (`*name`) stand for more than {_MOST_VALUES} values, or for themselves")
    return value


def _load(kind: Any, text: str, name: str) -> Any:
    loader = kind(text)
    loader.file = name
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_yaml(path: str | Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a yaml mapping over the files its `_BASE_` names (relative to itself; later ones win).

    Both may be the names of shipped configs.

    Raises ConfigError with file and line for what is not yaml, a doubled key, a missing file, a circle of bases.
    """
    path = find_config(path).resolve()
    if path in children:
        raise ConfigError(f"{children[-1]}: _BASE_ leads back to {path}; remove one of the two")
    named = f" (named as _BASE_ in {children[-1]})" if children else ""
    if endless := why_endless(path):
        raise ConfigError(f"{path}{named}: cannot be read: {endless}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (
            why_not_read(error) if isinstance(error, PermissionError) else getattr(error, "strerror", None) or error
        )
        raise ConfigError(f"{path}{named}: cannot be read: {reason}{_another_name(path)}") from error
    raw = parse_yaml(text, str(path)) or {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds a {type(raw).__name__}; a config is a mapping of keys to values")
    bases = raw.pop("_BASE_", [])
    merged: dict[str, Any] = {}
    bases = bases if isinstance(bases, list) else [bases]
    if not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: _BASE_ = {bases}: expected the name of a yaml file, or a list of them")
    for base in bases:
        merged = merge(merged, read_yaml(find_beside(path, base), (*children, path)))
    return merge(merged, raw)


def _another_name(path: Path) -> str:
    """What a file that is not there may be meant to be; "" where none beside it has a name like it."""
    beside = {} if path.exists() else {other.stem: other.name for other in path.parent.glob("*.y*ml")}
    close = difflib.get_close_matches(path.stem, beside, n=1)
    return f"; did you mean {beside[close[0]]!r}?" if close else ""


def merge(base: Any, child: Any, key: str = "") -> Any:
    """Child over base, key by key; a component of another name replaces the base's component with all its arguments.

    `key`: what both stand at; of a section with a name, only what is of that name is replaced. Where the base is a list,
    whole numbers as keys change its elements. Raises ConfigError for a number it does not have, and where a list of
    components is given an argument of none of them.
    """
    if isinstance(base, list) and isinstance(child, dict) and child and all(key.isdecimal() for key in child):
        changed = list(base)
        for number, value in child.items():
            if int(number) >= len(base):
                raise ConfigError(f"key {number}: the list has only the elements 0 to {len(base) - 1}: {base}")
            changed[int(number)] = merge(base[int(number)], value)
        return changed
    if (
        isinstance(base, list)
        and isinstance(child, dict)
        and "name" not in child
        and base
        and all(map(_is_component, base))
    ):
        first = next(iter(child), "name")
        raise ConfigError(
            f"{key}.{first}: {key} is a list of {len(base)}: {', '.join(str(part['name']) for part in base)}; say of which, "
            f"counted from 0, as in {key}.0.{first}"
        )
    if not (isinstance(base, dict) and isinstance(child, dict)):
        return child
    if "name" in child and "name" in base and child["name"] != base["name"]:
        if key not in _NAMED_SECTIONS:
            return child
        base = {part: value for part, value in base.items() if part not in _NAMED_SECTIONS[key]}
    return base | {part: merge(base[part], value, part) if part in base else value for part, value in child.items()}


def _is_component(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value
