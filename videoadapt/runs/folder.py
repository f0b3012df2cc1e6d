"""A run's folder: the checkpoint that it is judged by, its description, which run is the newest."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from videoadapt import distributed
from videoadapt.config.loading import dump_config
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError, VideoAdaptError
from videoadapt.files import write_text
from videoadapt.models.parameters import load_trainable_state
from videoadapt.runs.checkpoint import BEST, DISK_FULL, list_checkpoints, load_checkpoint


def newest_run(outputs: Path) -> Path:
    """The run folder below `outputs` whose checkpoint is the newest. Raises CheckpointError when there is none."""
    found = sorted(outputs.glob("**/checkpoints/step_*.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(
            f"{outputs}: holds no trained run; train one (`videoadapt train --cfg quickstart` takes minutes), or name one "
            "with --run FOLDER"
        )
    return found[-1].parent.parent


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


def save_description(config: Config, class_names: Sequence[str]) -> None:
    """Write config.yaml and classes.txt, which describe the folder's checkpoints: call it once the two are known to agree."""

    def write() -> None:
        names = "".join(f"{name}\n" for name in class_names)
        write_text(config.output / "config.yaml", dump_config(config))
        if names:
            write_text(config.output / "classes.txt", names)

    distributed.on_main(write)


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run is judged by: `best.pt` where there was validation, else the newest, else None."""
    best = folder / "checkpoints" / BEST
    return best if os.path.isfile(best) else next(iter(list_checkpoints(folder)), None)


def load_result(model: nn.Module, path: Path) -> dict[str, Any]:
    """Load the weights that a checkpoint stands for (their moving average, where one was kept); return its content.

    Raises CheckpointError when it cannot be read or does not fit the model.
    """
    state = load_checkpoint(path)
    load_trainable_state(model, state["ema"] or state["model"], path)
    return state
