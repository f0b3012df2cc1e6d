"""What of a config is not as the defaults are."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from videoadapt.config.loading import COMPONENTS
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError
from videoadapt.runs.statement import flat, value_of


class Changed(NamedTuple):
    """A dotted key, its value here and its default, as json writes them; "" is no value."""

    key: str
    value: str
    default: str


def changed_settings(config: Config) -> list[Changed]:
    """Every key with another value than its default; arguments of a component against that component's own."""
    now, default = (of.model_dump(mode="json") for of in (config, Config(output=Path())))
    for (section, key), registry in COMPONENTS.items():
        spec, usual = now[section][key], default[section][key]
        if isinstance(usual, dict):
            with suppress(ConfigError):  # it has arguments without a default
                default[section][key] = {**registry.complete(usual), "name": usual["name"]}
        if isinstance(spec, dict) and value_of(default, f"{section}.{key}.name") != spec["name"]:
            arguments: dict[str, Any] = {}
            with suppress(ConfigError):
                arguments = registry.complete({"name": spec["name"]})
            default[section][key] = {**arguments, "name": value_of(usual, "name") if isinstance(usual, dict) else None}
    usual = dict(flat(default))
    return [
        Changed(key, _shown(here), _shown(usual.get(key)))
        for key, here in flat(now)
        if here != usual.get(key) and key != "output"
    ]


def differing_settings(configs: Sequence[Config], tested: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Every key in which these differ, but for where they write, with the value in each; "" where there is none.

    `tested`: of each what its test did otherwise than its config says, by dotted keys.
    """
    values = [dict(flat(config.model_dump(mode="json"))) | dict(of) for config, of in zip(configs, tested, strict=True)]
    keys = dict.fromkeys(key for of in values for key in of if key != "output")
    rows = [(key, [_shown(of.get(key)) for of in values]) for key in keys]
    return [(key, row) for key, row in rows if len(set(row)) > 1]


def _shown(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
