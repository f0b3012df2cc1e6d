"""A run's folder: the checkpoint that it is judged by, its description, which run is the newest."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import nn

from videoadapt import distributed, logger
from videoadapt.config.loading import dump_config, load_config
from videoadapt.config.schema import Config
from videoadapt.errors import DISK_FULL, CheckpointError, ConfigError, VideoAdaptError, why_not_read
from videoadapt.files import write_text
from videoadapt.models.parameters import load_trainable_state
from videoadapt.paths import check_permitted, check_regular, exists, is_file, is_folder
from videoadapt.runs.checkpoint import BEST, list_checkpoints, load_checkpoint, read_facts
from videoadapt.runs.statement import Difference, Statement, check_statement, differences, value_of


def newest_run(outputs: Path) -> Path | None:
    """The run folder below `outputs` whose checkpoint is the newest; None when there is none. Raises NotPermitted."""
    if is_folder(outputs):
        check_permitted(outputs)
    found = max(outputs.glob("**/checkpoints/step_*.pt"), key=_saved_at, default=None)
    return None if found is None else found.parent.parent


def _saved_at(checkpoint: Path) -> float:
    try:
        return checkpoint.stat().st_mtime
    except FileNotFoundError:  # a training has deleted it, for a newer one of its own; or it is a link to nothing
        return 0.0 if checkpoint.is_symlink() else time.time()


def run_config(folder: Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a run, with other values. Raises ConfigError for a folder that holds none, and what loading it raises."""
    path = folder / "config.yaml"
    if not is_file(path):
        raise ConfigError(f"{folder}: holds no config.yaml, so it is no run's folder")
    return load_config(path, overrides)


@contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """Turn the OSError of a full disk in the block into a VideoAdaptError that says what is intact and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        newest = next((f"{path.name} is intact" for path in list_checkpoints(folder)), "there is no checkpoint yet")
        free = shutil.disk_usage(folder).free
        raise VideoAdaptError(
            f"{error.filename or folder}: cannot be written: {error.strerror}: {free / 1e6:.1f} MB are free; {newest}; "
            "free some space and run the same command again to resume from there"
        ) from error


def save_description(config: Config, class_names: Sequence[str], step: int | None = None) -> None:
    """Write config.yaml and classes.txt, which describe the folder's checkpoints; where there are any, both stay as they are.

    `step`: where training resumes with other values, by `train.resume force`; config.yaml then becomes theirs, and what it
    was is kept beside it.
    """

    def write() -> None:
        folder, names = config.output, "".join(f"{name}\n" for name in class_names)
        path, trained = folder / "config.yaml", newest_checkpoint(folder) is not None
        if step is not None and is_file(path):
            path.rename(folder / f"config_until_step_{step:08d}.yaml")
        if not (trained and is_file(path)):
            write_text(path, dump_config(config))
        if names and not (trained and is_file(folder / "classes.txt")):
            write_text(folder / "classes.txt", names)

    distributed.on_main(write)


def newest_checkpoint(folder: Path) -> Path | None:
    """`best.pt` where there is one, else the checkpoint of the latest step, else None; neither is opened."""
    best = folder / "checkpoints" / BEST
    return best if exists(best) else next(iter(list_checkpoints(folder)), None)


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run is judged by: `best.pt` where there was validation, else the newest, else None.

    Raises ConfigError when `best.pt` does not belong to the training that the newest checkpoint is of, CheckpointError when
    it cannot be read.
    """
    path = newest_checkpoint(folder)
    if path is None or path.name != BEST:
        return path
    best = read_facts(path)
    for other in list_checkpoints(folder):
        with suppress(CheckpointError):  # a damaged one is passed over, as by resuming
            problem = foreign(best, read_facts(other))
            if problem:
                raise ConfigError(f"{path}: {problem}, unlike {other.name}; put the right file back, or delete it")
            break
    return path


def needed_checkpoint(folder: Path) -> Path:
    """The checkpoint that a run is judged by. Raises CheckpointError without one, and as `find_checkpoint` does."""
    path = find_checkpoint(folder)
    if path is None:
        raise CheckpointError(f"{folder}/checkpoints: holds no checkpoint; train first")
    return path


def facts_of(folder: Path) -> dict[str, Any]:
    """What the checkpoint that a run is judged by says of itself; {} without one. Raises as `find_checkpoint` does.

    `thresholds`: from which probability on each class is said to be there, where a validation chose that.
    """
    path = find_checkpoint(folder)
    return {} if path is None else read_facts(path)


def foreign(best: Mapping[str, Any], newest: Mapping[str, Any]) -> str:
    """Say why the facts of a `best.pt` do not belong to the training of another checkpoint; "" where they do."""
    if None not in (best.get("origin"), newest.get("origin")) and best["origin"] != newest["origin"]:
        return "is of another run"
    if "statement" not in best or "statement" not in newest:  # of an older version
        return ""
    lists = [value_of(facts, "config.lists.val") for facts in (best, newest)]
    if lists[0] != lists[1]:
        return "was the best on another validation list"
    there, here = Statement.read(best["statement"]), Statement.read(newest["statement"])
    differing = list(differences(there.as_dict(), here.as_dict()))
    return f"was trained with another {differing[0][0].removeprefix('config.')}" if differing else ""


def set_best_aside(folder: Path, step: int) -> None:
    """Keep a `best.pt` of an earlier training under another name, so that the run is no longer judged by it."""

    def rename() -> None:
        best = folder / "checkpoints" / BEST
        aside = best.with_name(f"best_until_step_{step:08d}.pt")
        best.rename(aside)
        logger.warning("%s: is not of this training, and is now %s", best, aside.name)

    distributed.on_main(rename)


def load_result(
    model: nn.Module, path: Path, here: Statement, state: Mapping[str, Any] | None = None
) -> list[Difference]:
    """Load the weights that a checkpoint stands for: their moving average, where one was kept.

    `here` states what they will be used in; `state` is the content of `path`, where it has been read. Returns what differs
    there on purpose. Raises CheckpointError when the file cannot be read, does not fit the model, or states another function.
    """
    state = load_checkpoint(path) if state is None else state
    there = statement_in(state, path)
    differing = check_statement(path, there, here) if there is not None else []
    load_trainable_state(model, state["ema"] or state["model"], path)
    return differing


def statement_in(facts: Mapping[str, Any], path: Path) -> Statement | None:
    """What a checkpoint states; one of an older version is described by its folder's config.yaml and classes.txt.

    None where neither says anything. Raises CheckpointError for a statement that cannot be read.
    """
    if "statement" in facts:
        try:
            return Statement.read(facts["statement"])
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}: its statement cannot be read: {error!r}") from error
    folder = path.parent.parent
    if not is_file(folder / "config.yaml"):
        return None
    logger.info("%s: an older version wrote it; that its backbone is the same cannot be seen", path)
    return Statement.of(load_config(folder / "config.yaml"), read_class_names(folder))


def read_class_names(folder: Path) -> list[str]:
    """The class names of a run, in the order of its logits, from classes.txt; [] without one, as after pre-training.

    Raises CheckpointError when the file cannot be read.
    """
    path = folder / "classes.txt"
    check_regular(path)
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1] if os.path.islink(path) or exists(path) else []
    except (OSError, UnicodeDecodeError) as error:
        sound = "put a sound copy back: one name a line, in the order of the labels"
        said = why_not_read(error, sound) if isinstance(error, OSError) else f"{error}; {sound}"
        raise CheckpointError(f"{path}: cannot be read as class names: {said}") from error


def check_class_names(class_names: Sequence[str], folder: Path) -> None:
    """Raise CheckpointError where the folder of a run tells no classes."""
    if not class_names:
        raise CheckpointError(
            f"{folder / 'classes.txt'}: there is no such file; put it back: one name a line, by label"
        )
