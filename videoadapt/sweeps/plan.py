"""A sweep's yaml -> its cells, one for each combination of settings and seed; and which of them can and must still run."""

import itertools
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from videoadapt.config.loading import load_config
from videoadapt.config.overrides import as_token, parse_overrides, split_tokens
from videoadapt.config.shipped import find_beside, find_config
from videoadapt.config.yaml_files import merge, read_yaml
from videoadapt.errors import ConfigError, did_you_mean
from videoadapt.models.adapters import build_adapter
from videoadapt.registry.refused_keys import explain
from videoadapt.runs.statement import flat
from videoadapt.runs.test_lists import own_list
from videoadapt.sweeps.cell import Cell, Settings, short
from videoadapt.sweeps.folds import AXIS, Division
from videoadapt.sweeps.schema import OWN_KEYS, SweepConfig, as_labels, labelled, texts


class Sweep:
    """All cells of a sweep. Raises ConfigError, before anything runs, for whatever the yaml or one of the cells gets wrong."""

    def __init__(self, path: Path, overrides: Sequence[str] = ()):
        path = find_config(path)
        raw, self._given = read_yaml(path), parse_overrides(overrides, SweepConfig)
        tokens = [f"{key}={text}" for key, text in split_tokens(overrides) if not _is_own(key)]
        for key in filter(_is_own, list(self._given)):
            raw[key] = merge(raw.get(key), self._given.pop(key))
        try:
            self.config = SweepConfig.model_validate(raw)
        except ValidationError as error:
            raise ConfigError([f"{path}: {problem}" for problem in explain(error, SweepConfig)]) from error
        self.path, self.folder, self.base = path, self.config.output, find_beside(path, self.config.base)
        try:
            self.axes = {axis: labelled(axis, settings) for axis, settings in self.config.axes.items()}
            self.division = self._divide(tokens)
            self._check_names()
            self.cells = [cell for settings in self._combinations() for cell in self._cells(settings, tokens)]
            self._check_cells()
        except ConfigError as error:
            raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from error

    def _divide(self, tokens: Sequence[str]) -> Division | None:
        """The folds, which become an axis."""
        if self.config.folds is None:
            return None
        varied = {key for known in self.axes.values() for changes in known.values() for key in changes}
        if AXIS in self.axes or {"data.train", "data.test"} & varied:
            raise ConfigError("folds: sets the axis fold, data.train and data.test; take them out of axes")
        config = load_config(self.base, [*_tokens(self.config.set), *tokens, as_token("output", str(self.folder))])
        division = Division(self.config.folds, config, self.folder)
        self.axes[AXIS] = division.settings
        return division

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
        scores = self.validations(settings)
        best = max(scores, key=lambda label: scores[label], default=None)
        return best if best is not None and scores[best] >= 0 else None  # all of them diverged

    def validations(self, settings: Settings) -> dict[str, float]:
        """What that choice is made by: each setting of `select.axis` that is tried for these settings -> top-1 (%) on the
        validation list, mean over `select.seeds`; minus infinity where one diverged. Empty while a cell is missing.
        """
        select, candidates = self.config.select, self.candidates(settings)
        if select is None or not all(cell.finished for cell in candidates):
            return {}
        scores: dict[str, list[float]] = {}
        for cell in candidates:
            scores.setdefault(cell.settings[select.axis], []).append(cell.val_top1)
        return {label: statistics.mean(found) for label, found in scores.items()}

    def candidates(self, settings: Settings) -> list[Cell]:
        """The cells, without a test, among which the choice for these settings is made; none without `select`."""
        select = self.config.select
        if select is None:
            return []
        wanted = {**settings, **texts(select.within)}
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
        return all(settings[axis] == label for axis, label in texts(self.config.select.within).items())

    def _combinations(self) -> Iterator[dict[str, str]]:
        excluded = [{axis: as_labels(labels) for axis, labels in rule.items()} for rule in self.config.exclude]
        for labels in itertools.product(*self.axes.values()):
            settings = dict(zip(self.axes, labels, strict=True))
            if not any(all(settings[axis] in labels for axis, labels in rule.items()) for rule in excluded):
                yield settings

    def _cells(self, settings: dict[str, str], given: Sequence[str]) -> Iterator[Cell]:
        """The cells of one combination; their configs differ in seed and folder only, and are checked once.

        `given`: what the sweep's command line says about the config, as it stands there.
        """
        name = ",".join(f"{short(axis)}={re.sub(r'[^A-Za-z0-9_.+-]+', '-', label)}" for axis, label in settings.items())
        varied = [token for axis, label in settings.items() for token in _tokens(self.axes[axis][label])]
        common = [*_tokens(self.config.set), *given, *varied]
        config = load_config(self.base, [*common, as_token("output", str(self.folder))])
        for seed in dict.fromkeys([*self.config.seeds, *(self.config.select.seeds if self.config.select else [])]):
            folder = self.folder / "cells" / name / f"seed={seed}"
            overrides = (*common, f"seed={seed}", as_token("output", str(folder)))
            yield Cell(settings, seed, self.base, overrides, config.model_copy(update={"seed": seed, "output": folder}))

    def _check_names(self) -> None:
        """Axes, labels and seeds."""
        problems = [f"axes.{axis}: holds no setting" for axis, settings in self.axes.items() if not settings]
        if not self.axes:
            problems.append("axes = {}: names no axis; a single run is `videoadapt train`")
        rules: list[tuple[str, dict[str, Any]]] = [(f"exclude.{n}", rule) for n, rule in enumerate(self.config.exclude)]
        select = self.config.select
        if select is not None:
            if select.axis not in self.axes:
                problems.append(f"select.axis = {select.axis!r}: {did_you_mean(select.axis, self.axes)}")
            if select.axis == AXIS and self.division is not None:
                problems.append("select.axis = fold: no fold is better than another; name another axis")
            if not select.seeds:
                problems.append("select.seeds = []: needs at least one whole number")
            if select.axis in select.within:
                problems.append(f"select.within.{select.axis}: is what is chosen; name other axes only")
            several = [axis for axis, label in select.within.items() if isinstance(label, list)]
            problems += [f"select.within.{axis}: names several settings; allowed: one" for axis in several]
            rules.append(("select.within", select.within))
        seeds = [*self.config.seeds, *(select.seeds if select else [])]
        if not self.config.seeds or min(seeds) < 0 or max(seeds) >= 2**64:
            problems.append(f"seeds = {seeds}: needs at least one whole number, none below 0 or from 2**64 on")
        for where, rule in rules:
            for axis, labels in rule.items():
                known = self.axes.get(axis)
                if known is None:
                    problems.append(f"{where}.{axis}: no axis of this sweep; {did_you_mean(axis, self.axes)}")
                    continue
                wrong = [label for label in as_labels(labels) if label not in known]
                problems += [f"{where}.{axis} = {label}: {did_you_mean(label, known)}" for label in wrong]
        every = [self.config.set, self._given, *(changes for known in self.axes.values() for changes in known.values())]
        own = {key for changes in every for key in dict(flat(changes)) if key in OWN_KEYS}
        problems += [f"{key}: {OWN_KEYS[key]}" for key in sorted(own)]
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
            own = own_list(data)
            if select is not None and own is not None and data.val == own.list:
                problems.append(
                    f"select: data.val and data.test are both {own.list}; choosing on the test list gives no result"
                )
            problems += [
                f"{cell.folder}: was run with other values {text}, or choose another `output`"
                for text in cell.other_values()
            ]
            try:
                build_adapter(cell.config.model.adapter, "model.adapter")
            except ConfigError as error:
                problems += [f"{cell.name}: {text}" for text in error.problems]
            if select is not None:
                wanted = {**cell.settings, **texts(select.within), select.axis: cell.settings[select.axis]}
                if not any(other.settings == wanted for other in self.cells):
                    problems.append(f"select.within: {cell.name} would take its choice from cells that are excluded")
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))


def _is_own(key: str) -> bool:
    """Whether a dotted key of the command line is one of the sweep's, and not of the config of its cells."""
    return key.partition(".")[0] in SweepConfig.model_fields


def _tokens(changes: dict[str, Any]) -> list[str]:
    return [as_token(key, value) for key, value in changes.items()]
