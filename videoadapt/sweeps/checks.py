"""The lists of a sweep's cells, checked before the first cell runs."""

from videoadapt.config.schema import Config, Holdout
from videoadapt.data.splits import Splits
from videoadapt.errors import ConfigError, VideoAdaptError
from videoadapt.runs.build import schedule_of
from videoadapt.runs.inputs import check_batch, check_model, load_inputs
from videoadapt.sweeps.plan import Sweep


def check_lists(sweep: Sweep) -> None:
    """Load every list, look for weights, build every model, compare batches with lists: problems come before any cell.

    Raises ConfigError, also when the validation list that a choice is made on shares videos with the test list.
    """
    problems: list[str] = []
    with_inputs: dict[str, list[tuple[str, Config]]] = {}
    for cell in sweep.cells:
        config = cell.as_run
        held_by = config.seed if isinstance(config.data.val, Holdout) else None
        inputs = f"{config.data.model_dump_json()}{config.model.model_dump_json()}{held_by}"
        with_inputs.setdefault(inputs, []).append((cell.name, config))
    for cells in with_inputs.values():  # one after the other: lists can be large
        name, config = cells[0]
        try:
            splits = _load_checked(config, chosen_on_val=sweep.config.select is not None)
        except VideoAdaptError as error:
            problems.append(f"{name}: {error}")
            continue
        for name, config in {config.train: (name, config) for name, config in reversed(cells)}.values():
            try:
                check_batch(config, schedule_of(config, splits.train), 1)
            except ConfigError as error:
                problems.append(f"{name}: {error}")
    if problems:
        raise ConfigError(problems)


def _load_checked(config: Config, chosen_on_val: bool) -> Splits:
    splits = load_inputs(config)
    check_model(config, len(splits.class_names))
    if splits.num_val_in_test and chosen_on_val:
        raise ConfigError(
            f"{splits.num_val_in_test} videos of data.val are in data.test: a choice by them is no result"
        )
    return splits
