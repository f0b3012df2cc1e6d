"""phases.jsonl in a run's folder: how long each training, test and test on corrupted videos took, on what, and its energy."""

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from videoadapt import __version__, distributed, logger
from videoadapt.files import drop_half_line
from videoadapt.models.parameters import parameter_table
from videoadapt.runs.checkpoint import list_checkpoints
from videoadapt.runs.energy import EnergyMeter
from videoadapt.runs.run import Run
from videoadapt.system import usable_cores

FILE_NAME = "phases.jsonl"
_PACKAGES = ("torch", "numpy", "timm", "av", "decord", "torchcodec", "pytorchvideo")  # what numbers may depend on


@contextmanager
def phase(run: Run, name: Literal["training", "test", "robustness"]) -> Iterator[None]:
    """Append a record of the block, unless an error ends it; all ranks call it.

    One that does no update, because the training is complete, leaves none.
    """
    first, began, start, meter = _step(run.folder), time.time(), time.perf_counter(), EnergyMeter(run.device)
    yield
    took = time.perf_counter() - start
    found = distributed.all_gather_objects((meter.joules(), meter.why_not, _device(run.device)))
    last = _step(run.folder)
    if not distributed.is_main() or (name == "training" and first == last):
        return
    joules = [of_rank for of_rank, _, _ in found if of_rank is not None]
    record = {
        "phase": name,
        "began": began,
        "sec": took,
        "steps": [first, last],
        "joules": sum(joules) if len(joules) == len(found) else None,
        "no_joules": next((why for _, why, _ in found if why), ""),
        "devices": [device for _, _, device in found],
        "machine": _machine(),
        "parameters": [[row.group, row.num_parameters, row.trainable] for row in parameter_table(run.model)],
        "gflops_per_view": run.gflops,
    }
    try:
        drop_half_line(run.folder / FILE_NAME)
        with (run.folder / FILE_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:  # a full disk: what was trained or tested is safe
        logger.warning("%s: cannot be written: %s", run.folder / FILE_NAME, error.strerror)


def _step(folder: Path) -> int:
    """Updates of the newest checkpoint."""
    newest = next(iter(list_checkpoints(folder)), None)
    return 0 if newest is None else int(newest.stem.removeprefix("step_"))


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} processor, {torch.get_num_threads()} of {usable_cores()} cores"


def _machine() -> dict[str, Any]:
    """What numbers and times may depend on."""
    versions = {"videoadapt": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if torch.version.cuda is not None:
        versions["CUDA of torch"] = torch.version.cuda
    return {"host": platform.node(), "system": platform.platform(), "processors": os.cpu_count(), "versions": versions}
