"""A sweep's yaml -> its cells, one for each combination of settings and seed; and which of them can and must still run."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from videoadapt.adapters import build_adapter
from videoadapt.config import load_config
from videoadapt.errors import ConfigError, did_you_mean
from videoadapt.sweep_cell import Cell, Settings, flat, short
from videoadapt.yaml_files import merge, parse_overrides, read_yaml

# Keys of a config that a sweep gives to each cell itself.
_OWN_KEYS = {
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
    base: Path
    output: Path
    set: dict[str, Any] = {}
    axes: dict[str, Any]
    exclude: list[dict[str, Any]] = []  # combinations (axis -> label or labels) that are not run
    seeds: list[int] = [0]
    select: Select | None = None


class Sweep:
    """All cells of a sweep. Raises ConfigError, before anything runs, for whatever the yaml or one of the cells gets wrong."""

    def __init__(self, path: Path, overrides: Sequence[str] = ()):
        raw, self._given = read_yaml(path), parse_overrides(overrides)
        for key in [key for key in self._given if key in SweepConfig.model_fields]:
            raw[key] = merge(raw.get(key), self._given.pop(key))
        try:
            self.config = SweepConfig.model_validate(raw)
        except ValidationError as error:
            raise ConfigError([_explain(path, item) for item in error.errors()]) from error
        self.path, self.folder, self.base = path, self.config.output, path.parent / self.config.base
        try:
            self.axes = {axis: _labelled(axis, settings) for axis, settings in self.config.axes.items()}
            self._check_names()
            self.cells = [cell for settings in self._combinations() for cell in self._cells(settings)]
            self._check_cells()
        except ConfigError as error:
            raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from error

    def missing(self) -> list[Cell]:
        """Cells that can run now and are not finished; when those that serve a choice are, there may be more."""
        return [cell for cell in self.runnable() if not cell.finished]

    def runnable(self) -> list[Cell]:
        """Cells that serve a choice, and those whose choice is made; each once."""
        select, found = self.config.select, {}
        for cell in self.cells:
            if self._is_chosen(cell):
                found[cell.folder] = cell
            elif select is not None and cell.seed in select.seeds and self._serves_choice(cell.settings):
                found[cell.folder] = replace(cell, tested=False)
        return list(found.values())

    def choice(self, settings: Settings) -> str | None:
        """The setting of `select.axis` that is best on the validation list, the first of equals.

        None while it is open, and where every setting diverged with some seed.
        """
        select = self.config.select
        assert select is not None
        scores: dict[str, list[float]] = {}
        for cell in self.candidates(settings):
            if not cell.finished:
                return None
            scores.setdefault(cell.settings[select.axis], []).append(cell.val_top1)
        best = max(scores, key=lambda label: sum(scores[label]) / len(scores[label]))
        return best if min(scores[best]) >= 0 else None  # all of them diverged

    def candidates(self, settings: Settings) -> list[Cell]:
        """The cells, without a test, among which the choice for these settings is made; none without `select`."""
        select = self.config.select
        if select is None:
            return []
        wanted = {**settings, **_texts(select.within)}
        return [
            replace(cell, tested=False)
            for cell in self.cells
            if cell.seed in select.seeds and all(cell.settings[a] == wanted[a] for a in self.axes if a != select.axis)
        ]

    def groups(self) -> Iterator[tuple[Settings, list[Cell]]]:
        """The rows of the table: settings, with the chosen one where there is one, and a cell for each seed of `seeds`."""
        rows: dict[tuple[str, ...], list[Cell]] = {}
        for cell in self.cells:
            if self._is_chosen(cell):
                rows.setdefault(tuple(cell.settings.values()), []).append(cell)
        for cells in rows.values():
            yield cells[0].settings, cells

    def _is_chosen(self, cell: Cell) -> bool:
        """Whether the cell counts in the table."""
        select = self.config.select
        if select is not None and cell.settings[select.axis] != self.choice(cell.settings):
            return False
        return cell.seed in self.config.seeds

    def _serves_choice(self, settings: Settings) -> bool:
        assert self.config.select is not None
        return all(settings[axis] == label for axis, label in _texts(self.config.select.within).items())

    def _combinations(self) -> Iterator[dict[str, str]]:
        excluded = [{axis: _as_labels(labels) for axis, labels in rule.items()} for rule in self.config.exclude]
        for labels in itertools.product(*self.axes.values()):
            settings = dict(zip(self.axes, labels, strict=True))
            if not any(all(settings[axis] in labels for axis, labels in rule.items()) for rule in excluded):
                yield settings

    def _cells(self, settings: dict[str, str]) -> Iterator[Cell]:
        """The cells of one combination; their configs differ in seed and folder only, and are checked once."""
        name = ",".join(f"{short(axis)}={re.sub(r'[^A-Za-z0-9_.+-]+', '-', label)}" for axis, label in settings.items())
        changes = [self.config.set, self._given, *(self.axes[axis][label] for axis, label in settings.items())]
        common = [f"{key}={json.dumps(value)}" for change in changes for key, value in change.items()]
        config = load_config(self.base, [*common, f"output={json.dumps(str(self.folder))}"])
        for seed in dict.fromkeys([*self.config.seeds, *(self.config.select.seeds if self.config.select else [])]):
            folder = self.folder / "cells" / name / f"seed={seed}"
            overrides = (*common, f"seed={seed}", f"output={json.dumps(str(folder))}")
            yield Cell(settings, seed, self.base, overrides, config.model_copy(update={"seed": seed, "output": folder}))

    def _check_names(self) -> None:
        """Axes, labels and seeds."""
        problems = [f"axes.{axis}: holds no setting" for axis, settings in self.axes.items() if not settings]
        if not self.axes:
            problems.append("axes = {}: names no axis; a single run is tools/run_net.py's")
        rules: list[tuple[str, dict[str, Any]]] = [(f"exclude.{n}", rule) for n, rule in enumerate(self.config.exclude)]
        select = self.config.select
        if select is not None:
            if select.axis not in self.axes:
                problems.append(f"select.axis = {select.axis!r}: {did_you_mean(select.axis, self.axes)}")
            if not select.seeds:
                problems.append("select.seeds = []: needs at least one whole number")
            if select.axis in select.within:
                problems.append(f"select.within.{select.axis}: is what is chosen; name other axes only")
            several = [axis for axis, label in select.within.items() if isinstance(label, list)]
            problems += [f"select.within.{axis}: names several settings; allowed: one" for axis in several]
            rules.append(("select.within", select.within))
        seeds = [*self.config.seeds, *(select.seeds if select else [])]
        if not self.config.seeds or min(seeds) < 0:
            problems.append(f"seeds = {seeds}: needs at least one whole number, none below 0")
        for where, rule in rules:
            for axis, labels in rule.items():
                known = self.axes.get(axis)
                if known is None:
                    problems.append(f"{where}.{axis}: no axis of this sweep; {did_you_mean(axis, self.axes)}")
                    continue
                wrong = [label for label in _as_labels(labels) if label not in known]
                problems += [f"{where}.{axis} = {label}: {did_you_mean(label, known)}" for label in wrong]
        every = [self.config.set, self._given, *(changes for known in self.axes.values() for changes in known.values())]
        own = {key for changes in every for key in dict(flat(changes)) if key in _OWN_KEYS}
        problems += [f"{key}: {_OWN_KEYS[key]}" for key in sorted(own)]
        varied = {key for settings in self.axes.values() for changes in settings.values() for key in changes}
        for key in dict(flat(self._given)):
            clash = [v for v in varied if key == v or key.startswith(f"{v}.") or v.startswith(f"{key}.")]
            problems += (
                [f"{key}: is what the axes of this sweep vary ({', '.join(clash)}); change the axis"] if clash else []
            )
        if problems:
            raise ConfigError(problems)

    def _check_cells(self) -> None:
        problems: list[str] = []
        if not self.cells:
            problems.append("exclude: leaves no cell")
        of_folder: dict[Path, Cell] = {}
        for cell in self.cells:
            other = of_folder.setdefault(cell.folder, cell)
            if other is not cell:
                problems.append(
                    f"axes: {other.name} and {cell.name} would share {cell.folder}; give them labels in letters"
                )
            if cell.config.task == "pretrain":
                problems.append("base: task pretrain has no accuracy to compare; a sweep is of task train")
        select = self.config.select
        for cell in self.cells:
            data = cell.config.data
            if select is not None and data.val is None:
                problems.append("select: needs a validation list; set data.val, for example to {holdout: 0.1}")
            if select is not None and data.val is not None and data.val == data.test:
                problems.append(
                    f"select: data.val and data.test are both {data.test}; choosing on the test list gives no result"
                )
            problems += [
                f"{cell.folder}: was run with other values ({text}); delete the folder, or choose another `output`"
                for text in cell.other_values()
            ]
            try:
                build_adapter(cell.config.model.adapter)
            except ConfigError as error:
                problems += [f"{cell.name}: {text}" for text in error.problems]
            if select is not None:
                wanted = {**cell.settings, **_texts(select.within), select.axis: cell.settings[select.axis]}
                if not any(other.settings == wanted for other in self.cells):
                    problems.append(f"select.within: {cell.name} would take its choice from cells that are excluded")
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))


def _labelled(axis: str, settings: Any) -> dict[str, dict[str, Any]]:
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
        raise ConfigError(f"axes.{axis}: a setting stands there twice: {settings}")
    return found


def _label(value: Any) -> str:
    """`adaptformer(bottleneck=4)` for a component, `adaptformer+lora` for a list of them, else the value itself."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return "+".join(_label(part) for part in value)
    if isinstance(value, dict) and "name" in value:
        rest = ",".join(f"{key}={part}" for key, part in value.items() if key != "name")
        return f"{value['name']}({rest})" if rest else str(value["name"])
    return value if isinstance(value, str) else json.dumps(value)


def _as_labels(labels: Any) -> list[str]:
    return [_label(label) for label in labels] if isinstance(labels, list) else [_label(labels)]


def _texts(settings: Mapping[str, Any]) -> dict[str, str]:
    return {axis: _label(value) for axis, value in settings.items()}


def _explain(path: Path, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{path}: {key}: unknown key; {did_you_mean(key, SweepConfig.model_fields)}"
    if item["type"] == "missing":
        return f"{path}: {key}: a value is required"
    return f"{path}: {key} = {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"
