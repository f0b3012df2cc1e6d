"""One yaml file plus `key value` overrides -> one frozen Config, or one ConfigError that lists every problem.

A component (`{name: adaptformer, bottleneck: 64}`) is checked against the keyword-only arguments of its constructor:
the signature is the schema, so this file knows no component.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from videoadapt.config.choice import with_choice
from videoadapt.config.overrides import ArgumentText, parse_overrides, read_text
from videoadapt.config.schema import Component, Config
from videoadapt.config.yaml_files import merge, read_yaml
from videoadapt.errors import ConfigError, at_key
from videoadapt.registry import ADAPTERS, BACKBONES, DATASETS, DECODERS, LOGGERS, LOSSES, SAMPLERS, Registry
from videoadapt.registry.refused_keys import as_list, explain

COMPONENTS: dict[tuple[str, str], Registry] = {
    ("model", "backbone"): BACKBONES,
    ("model", "adapter"): ADAPTERS,
    ("data", "dataset"): DATASETS,
    ("data", "decoder"): DECODERS,
    ("data", "sampling"): SAMPLERS,
    ("train", "loggers"): LOGGERS,
    ("train", "loss"): LOSSES,
}


def load_config(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Config:
    """Read `path`, its `_BASE_` files and what its `_CHOOSE_` leads to, apply `key value` and `key=value`, check everything.

    From Python, overrides may also be a mapping: {"train.epochs": 3, "model.adapter": {"name": "lora"}}.
    Raises ConfigError with all problems at once: unknown keys and names, wrong types, values out of range.
    """
    raw = with_choice(Path(path), merge(read_yaml(Path(path)), parse_overrides(overrides)))
    try:
        return check_config(raw)
    except ConfigError as error:
        raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from error


def check_config(raw: dict[str, Any]) -> Config:
    """Check all values, also those of components, wherever they come from. Raises ConfigError with all problems at once."""
    problems: list[str] = []
    for (section, key), registry in COMPONENTS.items():
        part = raw.setdefault(section, {})
        if isinstance(part, dict):
            check, none = _CHECKS.get((section, key), (_check_component, {}))
            spec = _named(part.get(key), _default(section, key))
            # a problem is noted, and the rest is checked as if there was none
            found = None if spec is None else check(spec, registry, f"{section}.{key}", problems)
            part[key] = none if found is None and spec is not None else found
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = explain(error, Config) + problems
    if problems:
        raise ConfigError(problems)
    return config


def dump_config(config: Config) -> str:
    """Return the resolved config as yaml text, every default included, so that `load_config` gives it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _default(section: str, key: str) -> Any:
    schema = Config.model_fields[section].annotation
    assert schema is not None
    return schema.model_fields[key].default


def _named(spec: Any, default: Any) -> Any:
    """A component without a name is the default one with other arguments."""
    if spec is None:
        return default
    return default | spec if isinstance(spec, dict) and isinstance(default, dict) and "name" not in spec else spec


def _check_components(
    spec: Any, registry: Registry, where: str, problems: list[str]
) -> Component | list[Component] | None:
    """Check one component, or each of a list; a list of one is that one."""
    if isinstance(spec, str) and len(names := re.split(r"[,\s]+", spec)) > 1:
        meant = ", ".join(f"{{name: {name}}}" for name in names)
        problems.append(f"{where} = {spec!r}: expected a list; write [{meant}], in quotes on a command line")
        return None
    if not isinstance(spec, list) or len(spec) == 1:
        return _check_component(spec[0] if isinstance(spec, list) else spec, registry, where, problems)
    if not spec:
        problems.append(f"{where} = []: names no component; allowed: {', '.join(registry.names())}")
    found = [_check_component(part, registry, f"{where}.{number}", problems) for number, part in enumerate(spec)]
    return [part for part in found if part is not None]


def _check_list(spec: Any, registry: Registry, where: str, problems: list[str]) -> list[Component]:
    """Check each of a list, which may be empty, and where a name alone is a component with its defaults."""
    if not isinstance(spec, list):
        problems.append(
            f"{where} = {spec!r}: expected a list{as_list(spec)}; allowed in it: {', '.join(registry.names())}"
        )
        return []
    specs = [{"name": str(part)} if isinstance(part, str) else part for part in spec]
    found = [_check_component(part, registry, f"{where}.{number}", problems) for number, part in enumerate(specs)]
    return [part for part in found if part is not None]


def _check_component(spec: Any, registry: Registry, where: str, problems: list[str]) -> Component | None:
    """Return the component with every default filled in, or note problems."""
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        is_name = isinstance(spec, str) and spec.isidentifier()
        hint = f"; write {{name: {spec}}}, in quotes on a command line" if is_name else ""
        problems.append(
            f"{where} = {spec!r}: expected a mapping with a `name`{hint}; allowed: {', '.join(registry.names())}"
        )
        return None
    try:
        with at_key(where):
            return registry.complete(_read_arguments(spec, registry, where))
    except ConfigError as error:
        problems += error.problems
        return None


# how the specs of a key are checked, where they are not one component, and what stands for wrong ones
_CHECKS: dict[tuple[str, str], tuple[Callable[[Any, Registry, str, list[str]], Any], Any]] = {
    ("model", "adapter"): (_check_components, {}),
    ("train", "loggers"): (_check_list, []),
}


def _read_arguments(spec: Component, registry: Registry, where: str) -> Component:
    """Read what the command line gives as text, by the types in the component's signature."""
    schema = registry.schema(spec["name"])

    def read(value: Any, key: str, annotation: Any) -> Any:
        if isinstance(value, dict):
            return {name: read(part, f"{key}.{name}", None) for name, part in value.items()}
        return read_text(key, str(value), annotation) if isinstance(value, ArgumentText) else value

    types = {name: argument.annotation for name, argument in schema.items()} | {"name": str}
    return {name: read(value, f"{where}.{name}", types.get(name)) for name, value in spec.items()}
