"""The cells of a sweep, checked before the first one runs."""

from videoadapt.config.schema import Config, Holdout
from videoadapt.errors import ConfigError, counted
from videoadapt.log import each_line_once
from videoadapt.runs.build_data import schedule_of
from videoadapt.runs.checks import batch_problems, setting_problems
from videoadapt.runs.inputs import find_problems
from videoadapt.runs.machine import output_problems
from videoadapt.sweeps.plan import Sweep


def check_cells(sweep: Sweep, *, here: bool = True) -> None:
    """Check every cell as a run is checked at its start; lists, weights and models that cells share are looked at once.

    `here`: the cells will run on this machine. Raises one ConfigError with a line for each problem and the cells that have it,
    also when the validation list that a choice is made on shares videos with the test list.
    """
    with each_line_once():
        found = _problems(sweep, here)
    if found:
        raise ConfigError([f"{_named(names)}: {problem}" for problem, names in found.items()])


def _problems(sweep: Sweep, here: bool) -> dict[str, list[str]]:
    """Every problem, and the names of the cells that have it."""
    found: dict[str, list[str]] = {}
    sharing: dict[str, list[tuple[str, Config]]] = {}
    for cell in sweep.cells:
        sharing.setdefault(_inputs_of(cell.as_run), []).append((cell.name, cell.as_run))
    for cells in sharing.values():  # one after the other: lists can be large
        (name, config), *others = cells
        splits, problems = find_problems(config, here=here)
        if splits is not None and splits.num_val_in_test and sweep.config.select is not None:
            problems.append(
                f"{counted(splits.num_val_in_test, 'video')} of data.val are in data.test: a choice by them is no result"
            )
        for problem in problems + _label_problems(config):
            found.setdefault(problem, []).append(name)
        for name, config in others:
            problems = setting_problems(config) + output_problems(config.output) + _label_problems(config)
            if splits is not None:
                problems += batch_problems(config, schedule_of(config, splits.train).num_videos, ranks=1)
            for problem in problems:
                found.setdefault(problem, []).append(name)
    return found


def _label_problems(config: Config) -> list[str]:
    if config.data.labels == "single":
        return []
    return [
        "data.labels = multi: a sweep chooses and compares by top-1; allowed: single, or train the cells one by one"
    ]


def _inputs_of(config: Config) -> str:
    """What lists, weights and model depend on, as text."""
    held_by = config.seed if isinstance(config.data.val, Holdout) else None
    return f"{config.data.model_dump_json()}{config.model.model_dump_json()}{held_by}{config.optim.layer_decay}"


def _named(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {counted(len(names) - 1, 'more cell')}"
