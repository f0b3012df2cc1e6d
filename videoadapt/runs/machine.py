"""What a run needs of the machine that it is started on: a device, a compiler, places to write to."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import torch

from videoadapt.config.schema import Config
from videoadapt.distributed import choose_device
from videoadapt.errors import ConfigError
from videoadapt.paths import why_foreign, why_unwritable
from videoadapt.registry import LOGGERS
from videoadapt.system import open_files_limit
from videoadapt.video.cache.folder import MEMORY, cache_folder, why_not_here
from videoadapt.video.jpeg_clips import why_not_decoded

_WRITTEN_IN_PLACE = (".lock", "run.log", "metrics.jsonl", "timing.jsonl", "phases.jsonl")
_REPLACED = (
    "config.yaml", "classes.txt", "outcome.json", "results.json", "predictions.npz", "adapter.safetensors", "pretrained.pth",
    "trunk.safetensors", "rates.json", "curves.png", "confusion.png", "average_precision.png", "per_class.csv",
    "reconstruction.png", "robustness.json", "robustness.png", "report.html",
)  # fmt: skip
_OPEN_FILES, _OF_A_WORKER = 24, 4  # at a time, measured with room: 2 workers need 22 in all, 6 need 36
_FOLDERS = ("checkpoints", "tensorboard", "loggers")


def machine_problems(config: Config) -> list[str]:
    """What this machine does not offer of what a config asks for, a line each."""
    problems = []
    limit, needed = open_files_limit(), _OPEN_FILES + _OF_A_WORKER * config.data.workers
    if config.data.workers and reads_files(config) and limit is not None and limit < needed:
        problems.append(
            f"data.workers = {config.data.workers}: needs {needed} open files, and this process may have {limit} at a time; "
            f"raise the limit (ulimit -n {max(1024, needed)}), or lower data.workers"
        )
    try:
        device = choose_device(config.device)
    except ConfigError as error:
        problems += error.problems
    else:
        for section in ("train", "test"):
            if getattr(config, section).compile is not True:  # auto takes what is there
                continue
            if missing := missing_compiler(device):
                problems.append(f"{section}.compile = true: {missing}; install one, or set {section}.compile false")
            if reason := _foreign_code():
                where = "remove it, or name another folder: TORCHINDUCTOR_CACHE_DIR"
                problems.append(f"{section}.compile = true: {reason}; {where}")
        if config.data.jpeg_decoding == "device" and config.train.enable and (reason := why_not_decoded(device)):
            problems.append(
                f"data.jpeg_decoding = device: torchvision decodes no JPEG on {device} ({reason}); install the torchvision "
                "that goes with this torch, or set data.jpeg_decoding processor"
            )
    problems += _missing_packages(config)
    place = cache_folder(config.data.cache) if reads_files(config) else None
    if place is not None and (
        reason := why_not_here() or (place == MEMORY and why_foreign(place)) or why_unwritable(place)
    ):
        problems.append(f"data.cache = {config.data.cache}: {reason}")
    return problems


def _missing_packages(config: Config) -> list[str]:
    """Loggers whose package is not installed."""
    needed = [(spec["name"], LOGGERS.get(spec["name"]).package) for spec in config.train.loggers]
    return [
        f"train.loggers: {name} needs the package {package}, which is not installed: pip install 'videoadapt[{package}]', or "
        f"take it out"
        for name, package in needed
        if package is not None and find_spec(package) is None
    ]


def reads_files(config: Config) -> bool:
    """Whether the run opens any video file: training on rendered clips does not."""
    return config.data.rendered is None or config.test.enable


def output_problems(folder: Path) -> list[str]:
    """What keeps a run from writing into its folder, which may not be there yet; a line, or none."""
    reason = why_unwritable(folder)
    return [f"output = {folder}: {reason}"] if (reason := reason or _what_is_in_the_way(folder)) else []


def _what_is_in_the_way(folder: Path) -> str:
    """Say which of a run's own names cannot be written, because of what is there; "" if all can."""
    if not os.path.isdir(folder):
        return ""
    for name in (*_WRITTEN_IN_PLACE, *_REPLACED):
        if os.path.lexists(folder / name) and not os.path.isfile(folder / name):
            return f"its {name} is no regular file; move it away, or choose another folder"
    for name in _FOLDERS:
        if os.path.lexists(folder / name) and not os.path.isdir(folder / name):
            return f"its {name} is no folder; move it away, or choose another folder"
    there = [name for name in (*_WRITTEN_IN_PLACE, *_FOLDERS) if os.path.exists(folder / name)]
    locked = [name for name in there if not os.access(folder / name, os.W_OK)]
    return f"this user may not write to its {', '.join(locked)}; choose another folder" if locked else ""


def missing_compiler(device: torch.device) -> str:
    """What torch.compile would look for in vain: a C++ compiler for the CPU, a C compiler for Triton's kernels."""
    variable, usual = ("CC", ["gcc", "clang"]) if device.type == "cuda" else ("CXX", ["g++", "clang++"])
    names = os.environ.get(variable, "").split()[:1] or usual  # the variable may bring arguments
    return "" if any(map(shutil.which, names)) else f"there is no compiler {' or '.join(names)} on this machine"


def _foreign_code() -> str:
    """Why torch.compile's folder of compiled code, which every user may make first, is not this user's own; "" if it is."""
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return ""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # slow to import

    return why_foreign(Path(default_cache_dir()), others_may_not=0o022)
