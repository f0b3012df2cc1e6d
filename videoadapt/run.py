"""A run: its folder, its lists, its model on its device. What training, testing and inference start from."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoadapt import distributed
from videoadapt.adapter_file import save_adapter
from videoadapt.adapters import parameter_table
from videoadapt.atomic import write_atomically
from videoadapt.autoencoder import MaskedAutoencoder, build_autoencoder, pretrain_problems
from videoadapt.checkpoint import (
    BEST,
    DISK_FULL,
    list_checkpoints,
    load_checkpoint,
    load_trainable_state,
    remove_partial,
)
from videoadapt.config import Config, load_config, save_config
from videoadapt.errors import CheckpointError, ConfigError, VideoAdaptError
from videoadapt.lock import only_process_in
from videoadapt.log import logger, setup_logging, show_table
from videoadapt.model import Classifier, build_model, count_gflops
from videoadapt.rendered import rendered_problems
from videoadapt.splits import Splits, load_splits
from videoadapt.structures import EraseBox
from videoadapt.transforms import normalise
from videoadapt.weight_files import weights_path

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Run:
    """Everything that a loop needs; made by `prepare` for training and testing."""

    config: Config
    splits: Splits
    model: Classifier | MaskedAutoencoder  # as `task` says
    device: torch.device

    @property
    def folder(self) -> Path:
        """The run's output folder."""
        return self.config.output

    @property
    def best_checkpoint(self) -> Path:
        """Where training saves the weights of the best validation top-1; exists only with a validation list."""
        return self.folder / "checkpoints" / BEST


def choose_device(name: str) -> torch.device:
    """The device of this process for `device: auto | cpu | cuda`. Raises ConfigError when there is no such device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device = 'cuda': this machine offers no CUDA device; use `device auto` or `device cpu`")
    torch.backends.cudnn.allow_tf32 = False  # fp32 means float32: by default convolutions would round to 10 bits
    return torch.device("cpu") if name == "cpu" else distributed.device()


@contextmanager
def prepare(config: Config) -> Iterator[Run]:
    """Check all files, make the output folder, keep other runs out of it during the block, and build the model.

    Raises one ConfigError listing every missing or unusable file before anything is decoded or loaded, ConfigError when
    another run is at work in the folder, and VideoAdaptError when the disk gets full during the block.
    """
    setup_logging()
    splits = load_inputs(config)
    config.output.mkdir(parents=True, exist_ok=True)
    with only_process_in(config.output), _full_disk_explained(config.output):
        setup_logging(config.output)
        if distributed.is_main():
            remove_partial(config.output)
        device = choose_device(config.device)
        model: Classifier | MaskedAutoencoder
        if config.task == "pretrain":
            torch.manual_seed(config.seed)
            model = build_autoencoder(config).to(device)
        else:
            model = build_seeded_model(config, len(splits.class_names)).to(device)
        show_model(config, model)
        yield Run(config, splits, model, device)


def load_inputs(config: Config) -> Splits:
    """Load and check the lists, and see that the weights are there. Raises one ConfigError with all that is wrong."""
    problems = pretrain_problems(config) + rendered_problems(config)
    splits: Splits | None = None
    try:
        splits = load_splits(config)
    except VideoAdaptError as error:
        problems.append(str(error))
    weights = config.model.weights
    if weights is not None and not weights_path(weights).exists():
        where = f"\n    where to get it: {config.model.obtain}" if config.model.obtain else ""
        problems.append(f"model.weights = {weights}: there is no such file{where}")
    if problems or splits is None:
        raise ConfigError(problems)
    return splits


def check_model(config: Config, num_classes: int) -> None:
    """Raise ConfigError where the backbone, its adapters and the clips do not fit; allocates no weights, and reads none."""
    bare = config.model_copy(update={"model": config.model.model_copy(update={"weights": None})})
    with torch.device("meta"):
        if config.task == "pretrain":
            build_autoencoder(bare)
        else:
            build_seeded_model(bare, num_classes)


@contextmanager
def _full_disk_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        newest = next((f"{path.name} is intact" for path in list_checkpoints(folder)), "there is no checkpoint yet")
        free = shutil.disk_usage(folder).free
        raise VideoAdaptError(
            f"{error.filename or folder}: cannot be written: {error.strerror}: {free / 1e6:.1f} MB are free; {newest}; "
            "make room and run the same command again to go on from there"
        ) from error


def save_description(run: Run) -> None:
    """Write config.yaml and classes.txt, which say what the folder's checkpoints are: only once they are known to fit."""

    def write() -> None:
        names = "".join(f"{name}\n" for name in run.splits.class_names)
        write_atomically(run.folder / "config.yaml", lambda path: save_config(run.config, path))
        if names:
            write_atomically(run.folder / "classes.txt", lambda path: path.write_text(names, encoding="utf-8"))

    distributed.on_main(write)


def build_seeded_model(config: Config, num_classes: int) -> Classifier:
    """Build the model; initial values come from the seed, so that a trunk without weights is the same in every process."""
    torch.manual_seed(config.seed)
    return build_model(config.model, num_classes, config.data.num_frames, config.data.crop_px)


def open_run(folder: Path, device: torch.device) -> tuple[Config, list[str], Classifier]:
    """Rebuild the model of a finished or interrupted run from its folder: config, class names, model in eval mode."""
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(f"{folder}: not a run folder (no config.yaml in it)")
    config = load_config(folder / "config.yaml")
    if config.task != "train":
        raise CheckpointError(
            f"{folder}: holds a masked pre-training, which has no classes; train on its pretrained.pth"
        )
    class_names = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    model = build_seeded_model(config, len(class_names))
    path = find_checkpoint(folder)
    if path is None:
        raise CheckpointError(f"{folder}/checkpoints: holds no checkpoint; train first")
    load_result(model, path)
    return config, class_names, model.to(device).eval()


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run is judged by: `best.pt` where there was validation, else the newest, else None."""
    best = folder / "checkpoints" / BEST
    return best if best.is_file() else next(iter(list_checkpoints(folder)), None)


def load_result(model: nn.Module, path: Path) -> dict[str, Any]:
    """Load the weights a checkpoint stands for (their moving average, where one was kept); return the checkpoint."""
    state = load_checkpoint(path)
    load_trainable_state(model, state["ema"] or state["model"], path)
    return state


def leave_adapter(run: Run) -> None:
    """Load what a finished run is judged by, and leave it as `adapter.safetensors` in the run's folder."""
    path = find_checkpoint(run.folder)
    assert path is not None and isinstance(run.model, Classifier), "a finished run has a checkpoint"
    load_result(run.model, path)
    if distributed.is_main():
        save_adapter(run.model, run.config, run.splits.class_names, run.folder / "adapter.safetensors")
        size = (run.folder / "adapter.safetensors").stat().st_size
        logger.info("adapter: %s (%.2f MB)", run.folder / "adapter.safetensors", size / 1e6)


def forward(
    model: Callable[[Tensor], Tensor],
    config: Config,
    device: torch.device,
    clips_BCTHW: Tensor,
    erase: Sequence[EraseBox | None] = (),
) -> Tensor:
    """uint8 clips (B, 3, T, H, W) -> float32 logits (B, K): moved, normalised and run in the run's precision."""
    clips_BCTHW = normalise(clips_BCTHW.to(device, non_blocking=True), erase or [None] * len(clips_BCTHW))
    return logits_of(model, config, device, clips_BCTHW)


def logits_of(model: Callable[[Tensor], Tensor], config: Config, device: torch.device, clips_BCTHW: Tensor) -> Tensor:
    """Normalised float clips -> float32 logits, under autocast where the config asks for half precision."""
    with autocast(config, device):
        logits_BK: Tensor = model(clips_BCTHW)
    return logits_BK.float()


def autocast(config: Config, device: torch.device) -> AbstractContextManager[Any]:
    """The precision that `train.precision` asks for."""
    dtype = PRECISIONS.get(config.train.precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


def show_model(config: Config, model: Classifier | MaskedAutoencoder) -> None:
    """Print every group of parameters with its count and share, and the cost of one test video, where there are any."""
    rows = [
        [group.group, f"{group.num_parameters:,}", f"{100 * group.share:.2f} %", "yes" if group.trainable else "no"]
        for group in parameter_table(model)
    ]
    show_table("Parameters", ["group", "count", "share", "trained"], rows)
    if not isinstance(model, Classifier):
        return
    views = config.test.clips * config.test.crops
    gflops = count_gflops(model, config.data.num_frames, config.data.crop_px)
    logger.info("cost of a test video: %.3g GFLOPs x %d views (multiply-adds, counted by fvcore)", gflops, views)
