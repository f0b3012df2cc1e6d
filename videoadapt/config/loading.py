"""One yaml file plus `key value` overrides -> one frozen Config, or one ConfigError that lists every problem.

A component (`{name: adaptformer, bottleneck: 64}`) is checked against the keyword-only arguments of its constructor:
the signature is the schema, so this file knows no component."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from videoadapt.config.schema import Component, Config
from videoadapt.config.yaml_files import merge, parse_overrides, read_yaml
from videoadapt.errors import ConfigError, did_you_mean
from videoadapt.registry import ADAPTERS, BACKBONES, DATASETS, DECODERS, SAMPLERS, Registry

COMPONENTS: dict[tuple[str, str], Registry] = {
    ("model", "backbone"): BACKBONES,
    ("model", "adapter"): ADAPTERS,
    ("data", "dataset"): DATASETS,
    ("data", "decoder"): DECODERS,
    ("data", "sampling"): SAMPLERS,
}


def load_config(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Config:
    """Read `path` and its `_BASE_` files, apply `key value` and `key=value` overrides, check everything.

    From Python, overrides may also be a mapping: {"train.epochs": 3, "model.adapter": {"name": "lora"}}.
    Raises ConfigError with all problems at once: unknown keys and names, wrong types, values out of range.
    """
    raw = merge(read_yaml(Path(path)), parse_overrides(overrides))
    problems: list[str] = []
    for (section, key), registry in COMPONENTS.items():
        spec = (raw.get(section) or {}).get(key) if isinstance(raw.get(section, {}), dict) else None
        if spec is None:
            spec = (Config.model_fields[section].annotation or Config).model_fields[key].default
        check = _check_components if (section, key) == ("model", "adapter") else _check_component
        checked = check(spec, registry, f"{section}.{key}", problems)
        if isinstance(raw.setdefault(section, {}), dict):
            raw[section][key] = checked or {}  # a problem is noted, and the rest is checked as if there was none
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(item, Config) for item in error.errors()] + problems
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return config


def dump_config(config: Config) -> str:
    """Return the resolved config as yaml text, every default included, so that `load_config` gives it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _check_components(
    spec: Any, registry: Registry, where: str, problems: list[str]
) -> Component | list[Component] | None:
    """Check one component, or each of a list; a list of one is that one."""
    if not isinstance(spec, list) or len(spec) == 1:
        return _check_component(spec[0] if isinstance(spec, list) else spec, registry, where, problems)
    if not spec:
        problems.append(f"{where} = []: names no component; allowed: {', '.join(registry.names())}")
    found = [_check_component(part, registry, f"{where}.{number}", problems) for number, part in enumerate(spec)]
    return [part for part in found if part is not None]


def _check_component(spec: Any, registry: Registry, where: str, problems: list[str]) -> Component | None:
    """Check `spec` against its constructor; return it with every default filled in, or note problems."""
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        problems.append(f"{where} = {spec!r}: expected a mapping with a `name`; allowed: {', '.join(registry.names())}")
        return None
    if spec["name"] not in registry.names():
        problems.append(f"{where}.name = {spec['name']!r}: {did_you_mean(spec['name'], registry.names())}")
        return None
    parameters = registry.schema(spec["name"])
    fields: dict[str, Any] = {
        key: (p.annotation, ... if p.default is inspect.Parameter.empty else p.default) for key, p in parameters.items()
    }
    schema = create_model(registry.get(spec["name"]).__name__, __config__=ConfigDict(extra="forbid"), **fields)
    try:
        checked = schema.model_validate({key: value for key, value in spec.items() if key != "name"})
    except ValidationError as error:
        problems.extend(_explain(item, schema, where) for item in error.errors())
        return None
    return {"name": spec["name"], **checked.model_dump(mode="json")}


def _explain(item: Any, schema: type[BaseModel], prefix: str = "") -> str:
    """One line for one pydantic error: key, value, what is allowed."""
    parts, allowed = _walk(schema, [str(part) for part in item["loc"]])
    key = ".".join(([prefix] if prefix else []) + parts)
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; {did_you_mean(parts[-1], allowed)}"
    if item["type"] == "missing":
        return f"{key}: a value is required; set it in the yaml or as `{key} VALUE`"
    return f"{key} = {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _walk(schema: type[BaseModel], loc: Sequence[str]) -> tuple[list[str], list[str]]:
    """Follow an error's location: the keys as the user wrote them, and the keys allowed where the last one stands.

    Pydantic's locations also name the chosen member of a union (`data.sampling.dense.stride_frames`): no key of ours.
    """
    models: list[type[BaseModel]] = [schema]
    keys: list[str] = []
    for part in loc:
        chosen = [m for m in models if part == _name_of(m)]
        if " " in part or (chosen and len(models) > 1):  # the tags of our own unions hold a space
            models = chosen or models
            continue
        keys.append(part)
        inner = [n for m in models if part in m.model_fields for n in _models_in(m.model_fields[part].annotation)]
        allowed = sorted({field for model in models for field in model.model_fields})
        models = inner or models
    return keys, allowed


def _name_of(model: type[BaseModel]) -> str:
    field = model.model_fields.get("name")
    return str(field.default) if field else ""


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
