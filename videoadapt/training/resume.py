"""Which checkpoint a run resumes from, and whether it may: never a silent start from step 0, never silently other values."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from videoadapt import distributed, logger
from videoadapt.config.keys import alters, with_defaults
from videoadapt.config.marks import Alters
from videoadapt.config.schema import Config
from videoadapt.data.splits import Splits
from videoadapt.errors import CheckpointError, ConfigError, counted
from videoadapt.paths import is_file
from videoadapt.runs.checkpoint import BEST, list_checkpoints, load_checkpoint, read_facts
from videoadapt.runs.folder import foreign, set_best_aside, statement_in
from videoadapt.runs.statement import Difference, Statement, check_statement, completed, differences, flat


class Resumed(NamedTuple):
    """The checkpoint that a run resumes from, what is in it, and the keys whose values were others when it was written."""

    path: Path
    state: dict[str, Any]
    changed: list[str]


def described(config: Config, splits: Splits) -> dict[str, Any]:
    """The config, and what is in the lists that it names: what a checkpoint says of the run that it belongs to."""
    lists = {"train": splits.fingerprint(splits.train), "val": splits.fingerprint(splits.val)}
    return {**config.model_dump(mode="json"), "lists": lists}


def fingerprint(described: dict[str, Any]) -> str:
    """sha256 (hex) over everything that decides what a training from step 0 computes: two runs with one are the same."""
    deciding = {key: value for key, value in flat(described) if Alters.UPDATES in alters(key)}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def find_resumable(run: Path, mode: str, now: dict[str, Any], total_steps: int, ranks: int = 1) -> Resumed | None:
    """Return what a run resumes from, in the mode of `train.resume`; None in a folder without checkpoints.

    `now` is what `described` gives; `ranks`: the processes that will share the work. Raises ConfigError when the values were
    others, unless `mode` is force, or the checkpoint is past `total_steps`; CheckpointError when none can be read.
    """
    found = newest_readable(run)
    if found is None:
        return None
    path, state = found
    changed = check_may_resume(mode, state["config"], now, path)
    if state["step"] > total_steps:
        raise ConfigError(f"{path}: is past the {counted(total_steps, 'step')} of this config; raise train.epochs")
    if state["ranks"] != ranks:
        logger.warning(
            "saved by %s, resuming with %d: dropout and BatchNorm will differ from an uninterrupted run",
            counted(state["ranks"], "process"), ranks,
        )  # fmt: skip
    return Resumed(path, state, [key for key, _, _ in changed])


def newest_readable(run: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that every rank can read, on the CPU; None in a folder without any.

    One that is damaged is passed over with a warning. Raises CheckpointError listing them all when none can be read.
    """
    problems: list[str] = []
    for path in distributed.all_gather_objects(list_checkpoints(run))[0]:
        state, problem = None, None
        try:
            state = load_checkpoint(path)
        except CheckpointError as error:
            problem = str(error)
        found = next((text for text in distributed.all_gather_objects(problem) if text is not None), None)
        if found is None and state is not None:
            for text in problems:
                logger.warning("%s; resuming from the one before, step %d", text, state["step"])
            return path, state
        problems.append(str(found))
    if problems:
        raise CheckpointError(
            f"{run}: none of its {counted(len(problems), 'checkpoint')} can be read; put a sound copy back, or, to start again "
            "from step 0, delete the folder `checkpoints` or choose another `output`:\n    " + "\n    ".join(problems)
        )
    return None


def check_may_resume(mode: str, before: dict[str, Any], now: dict[str, Any], path: Path) -> list[Difference]:
    """Return the differences that alter what an update computes. Raises ConfigError unless `train.resume` allows them."""
    if mode == "never":
        raise ConfigError(
            f"train.resume = never, but {path} exists and this run would resume from it; choose another `output`, delete the "
            "folder, or set train.resume strict (train.enable false only tests)"
        )
    there, here = with_defaults(completed(before)), with_defaults(now)
    changed = [found for found in differences(there, here) if Alters.UPDATES in alters(found[0])]
    lines = [f"    {key}: {old!r} there, {new!r} here" for key, old, new in changed]
    if lines and mode == "strict":
        raise ConfigError(
            [
                f"{path}: was trained with other values; set them back, choose another `output`, or set "
                "train.resume force to resume with the new ones:",
                *lines,
            ]
        )
    if lines:
        logger.warning("train.resume = force: resuming from %s with other values:\n%s", path, "\n".join(lines))
    return changed


def check_same_model(state: dict[str, Any], here: Statement, path: Path) -> None:
    """Raise CheckpointError where a checkpoint's tensors mean something else here, whatever `train.resume` says.

    That is where class names or frozen tensors are others. Other values of the config are `check_may_resume`'s business.
    """
    there = statement_in(state, path)
    if there is not None:
        check_statement(path, replace(there, config=here.config), here)


def keep_or_set_aside_best(run: Path, mode: str, now: dict[str, Any], step: int) -> bool:
    """Whether the best validation so far still counts, for a training that resumes at `step` with these facts.

    A `best.pt` of an earlier training is set aside when `mode` is force. Raises CheckpointError otherwise.
    """
    path = run / "checkpoints" / BEST
    if not distributed.all_gather_objects(is_file(path))[0]:
        return True
    problem = foreign(read_facts(path), now)
    if problem and mode != "force":
        raise CheckpointError(f"{path}: {problem}; put the right file back, or delete it")
    if problem:
        set_best_aside(run, step)
    return not problem
