"""One call's keyword arguments, handed to the component they belong to: `vit, size="base", adapter="lora", rank=8`."""

from collections.abc import Mapping, Sequence
from typing import Any

from videoadapt.errors import ConfigError, did_you_mean
from videoadapt.registry import ADAPTERS, BACKBONES, Registry

Named = str | Mapping[str, Any]  # a component: its name, or {"name": ..., and arguments}


def model_components(
    backbone: Named, adapter: Named | Sequence[Named], options: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the backbone and the adapters as {"name": ..., and arguments}, each with those of `options` that it takes.

    Raises ConfigError with every argument that none of them takes, that several take, or that is given twice.
    """
    adapters = [adapter] if isinstance(adapter, str | Mapping) else list(adapter)
    if not adapters:
        raise ConfigError(f"adapter = {adapter!r}: names none; allowed: {', '.join(ADAPTERS.names())}")
    parts = [(BACKBONES, _component("backbone", backbone, BACKBONES))]
    parts += [(ADAPTERS, _component("adapter", part, ADAPTERS)) for part in adapters]
    allowed = [registry.schema(spec["name"]) for registry, spec in parts]
    problems = []
    for key, value in options.items():
        takers = [spec for (_, spec), arguments in zip(parts, allowed, strict=True) if key in arguments]
        names = " and ".join(spec["name"] for spec in takers)
        if not takers:
            every = {name for arguments in allowed for name in arguments}
            problems.append(f"{key}: no argument of {_listed(parts)}; {did_you_mean(key, every)}")
        elif len(takers) > 1:
            problems.append(
                f'{key}: {names} take it; say whose: {{"name": "{takers[-1]["name"]}", "{key}": {value!r}}}'
            )
        elif key in takers[0]:
            problems.append(f"{key}: given twice to {names}; leave one out")
        else:
            takers[0][key] = value
    if problems:
        raise ConfigError(problems)
    return parts[0][1], [spec for _, spec in parts[1:]]


def _component(kind: str, given: Named, registry: Registry) -> dict[str, Any]:
    spec = {"name": given} if isinstance(given, str) else dict(given)
    if not isinstance(name := spec.get("name"), str):
        raise ConfigError(f"{kind} = {given!r}: expected a name, or a mapping with a `name`")
    if name not in registry.names():
        raise ConfigError(f"{kind} = {name!r}: {did_you_mean(name, registry.names())}")
    return spec


def _listed(parts: Sequence[tuple[Registry, Mapping[str, Any]]]) -> str:
    return " or ".join(str(spec["name"]) for _, spec in parts)
