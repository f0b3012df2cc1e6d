"""What a sweep's yaml may say."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from videoadapt.config.schema import PathKey
from videoadapt.errors import ConfigError

# Keys of a config that a sweep gives to each cell itself.
OWN_KEYS = {
    "seed": "is set for each cell; name the `seeds` of the sweep",
    "output": "is set for each cell; name the `output` of the sweep",
    "train.enable": "every cell is trained",
    "test.enable": "is decided by the sweep: what is chosen is tested",
}


class Select(BaseModel):
    """Which setting of `axis` is best on the validation list, for every combination of the other axes by itself.

    With `within`, it is chosen among the cells that have these settings, and holds for the others as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    axis: str
    seeds: list[int] = [0]
    on: Literal["val"] = "val"  # there is no other: what is chosen on the test list is no result
    within: dict[str, Any] = {}


class SweepConfig(BaseModel):
    """The keys of a sweep's yaml. An axis is a list of values of the key that is its name, or label -> {key: value}."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    base: PathKey
    output: PathKey
    set: dict[str, Any] = {}
    axes: dict[str, Any]
    exclude: list[dict[str, Any]] = []  # combinations (axis -> label or labels) that are not run
    seeds: list[int] = [0]
    select: Select | None = None


def labelled(axis: str, settings: Any) -> dict[str, dict[str, Any]]:
    """Label -> {key: value} for both ways of writing an axis."""
    if isinstance(settings, dict) and all(isinstance(changes, dict) for changes in settings.values()):
        found = {_label(label): changes for label, changes in settings.items()}
    elif isinstance(settings, list):
        found = {_label(value): {axis: value} for value in settings}
    else:
        raise ConfigError(
            f"axes.{axis} = {settings!r}: allowed: a list of values of the key {axis}, or label: {{key: value}}"
        )
    if len(found) < len(settings):
        raise ConfigError(f"axes.{axis}: a setting appears twice: {settings}")
    return found


def _label(value: Any) -> str:
    """`adaptformer(bottleneck=4)` for a component, `adaptformer+lora` for a list of them, else the value itself."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return "+".join(_label(part) for part in value)
    if isinstance(value, dict) and "name" in value:
        rest = ",".join(f"{key}={part}" for key, part in value.items() if key != "name")
        return f"{value['name']}({rest})" if rest else str(value["name"])
    return value if isinstance(value, str) else json.dumps(value)


def as_labels(labels: Any) -> list[str]:
    """One label or a list of them, as a list."""
    return [_label(label) for label in labels] if isinstance(labels, list) else [_label(labels)]


def texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Axis -> label of its setting."""
    return {axis: _label(value) for axis, value in settings.items()}
