"""What a sweep's yaml may say."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, MinLen
from pydantic import BaseModel, ConfigDict, model_validator

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


class Folds(BaseModel):
    """Cross-validation: `number` folds of data.train, or `splits` of (training list, test list) that are there.

    `group`: a regex of paths (its first bracket), `column` of the list, or `video`; or `group_file` with rows `path group`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: Annotated[int, Ge(2)] | None = None
    splits: Annotated[list[tuple[str, str]], MinLen(2)] | None = None
    group: str | None = None
    group_file: PathKey | None = None
    seed: int = 0  # which of the divisions that are equally good

    @model_validator(mode="before")
    @classmethod
    def _number_alone(cls, value: Any) -> Any:
        return {"number": value} if isinstance(value, int | str) else value

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        if (self.number is None) == (self.splits is None):
            raise ValueError("allowed: a number of folds, or splits: lists of a training and a test list; one of them")
        if self.group is not None and self.group_file is not None:
            raise ValueError("both group and group_file are given; choose one")
        if self.number is not None and self.group is None and self.group_file is None:
            raise ValueError(
                "group is not given, and videos of one group (cuts of a film, takes of a person) would be in training and "
                "test; allowed: a regex whose bracket names the group in a path, column, video where each stands alone, or "
                "group_file"
            )
        return self


class SweepConfig(BaseModel):
    """The keys of a sweep's yaml. An axis is a list of values of the key that is its name, or label -> {key: value}."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    base: PathKey
    output: PathKey
    set: dict[str, Any] = {}
    axes: dict[str, Any] = {}
    folds: Folds | None = None
    exclude: list[dict[str, Any]] = []  # combinations (axis -> label or labels) that are not run
    seeds: list[int] = [0]
    select: Select | None = None


def labelled(axis: str, settings: Any) -> dict[str, dict[str, Any]]:
    """Label -> {key: value} for both ways of writing an axis. Raises ConfigError for others, and for doubled settings."""
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
