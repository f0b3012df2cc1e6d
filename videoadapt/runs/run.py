"""A run: its folder, its lists, its model on its device. What training, testing and inference start from."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from videoadapt import distributed, logger
from videoadapt.config.schema import Config
from videoadapt.data.splits import Splits
from videoadapt.distributed import choose_device
from videoadapt.errors import ConfigError, VideoAdaptError, counted
from videoadapt.files import remove_abandoned
from videoadapt.log import setup_logging, show_table
from videoadapt.models.autoencoder import MaskedAutoencoder
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compiled_only_if, filled_up
from videoadapt.models.memory import matrices_held_in
from videoadapt.models.parameters import count_gflops, parameter_table
from videoadapt.processes.lock import only_process_in
from videoadapt.runs.build import build_autoencoder, build_seeded_model
from videoadapt.runs.checkpoint import BEST, list_checkpoints, remove_partial
from videoadapt.runs.feeds import Loggers
from videoadapt.runs.fitting import fitted
from videoadapt.runs.folder import full_disk_explained, newest_checkpoint
from videoadapt.runs.forward import HALF_PRECISION, forward
from videoadapt.runs.inputs import load_inputs
from videoadapt.runs.machine import reads_files
from videoadapt.runs.memory import BUILDING, memory_explained
from videoadapt.runs.named_weights import with_commits
from videoadapt.runs.outcome import OutcomeRecorder
from videoadapt.runs.resolution import resolved, say_chosen, warn_if_slow
from videoadapt.runs.statement import Statement
from videoadapt.video.cache.folder import join
from videoadapt.video.sides import sides_of


@dataclass(frozen=True)
class Run:
    """Everything that a loop needs; made by `prepare` for training and testing."""

    config: Config
    splits: Splits
    model: Classifier | MaskedAutoencoder  # as `task` says
    device: torch.device
    loggers: Loggers | None = None
    gflops: float | None = None  # multiply-adds of one test view; None where they were not counted

    @property
    def folder(self) -> Path:
        """The run's output folder."""
        return self.config.output

    @cached_property
    def statement(self) -> Statement:
        """What its predictions are made of besides trained tensors; it looks at every frozen tensor, once."""
        return Statement.of(self.config, self.splits.class_names, self.model)

    @property
    def best_checkpoint(self) -> Path:
        """Where training saves the weights of its best validation; exists only with a validation list."""
        return self.folder / "checkpoints" / BEST

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """uint8 clips (B, 3, T, H, W) -> float32 logits (B, K) of the classifier, in the run's precision and on its device."""
        return forward(self.model, clips_BCTHW, self.config.train.precision, self.device)

    @contextmanager
    def testing_forward(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """`forward` for testing and validation in the block: compiled as `test.compile` says, whatever training did."""
        test, half = self.config.test, HALF_PRECISION.get(self.config.train.precision)
        with compiled_only_if(test.compile, self.model), matrices_held_in(self.model.backbone, half):
            yield filled_up(self.forward, test.batch_size) if test.compile else self.forward


@contextmanager
def prepare(config: Config) -> Iterator[Run]:
    """Check all files, make the output folder, keep other runs out of it during the block, and build the model.

    Raises one ConfigError listing every missing or unusable file before anything is decoded or loaded, ConfigError when
    another run is using the folder, and VideoAdaptError when the disk gets full during the block. How it all
    ends is written to outcome.json, except that unusable files make no folder for it.
    """
    setup_logging()
    asked = config
    with suppress(ConfigError):  # of a device that is not there, which is one of the problems below
        config = resolved(config, choose_device(config.device))
    config = with_commits(config)
    with ExitStack() as stack:
        try:
            splits = load_inputs(config, distributed.world_size())
            config = fitted(config, splits.train, distributed.world_size())
        except VideoAdaptError:
            if os.path.isdir(config.output):  # an earlier run's outcome must not pass for this one's
                with suppress(ConfigError, OSError):
                    _occupy(config.output, stack)
            raise
        try:
            config.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # such as in /proc, which nothing but trying shows
            raise ConfigError(
                f"output = {config.output}: cannot be made: {error.strerror}; choose another folder"
            ) from error
        loggers = Loggers(config.output, config.train.loggers)
        _occupy(config.output, stack, loggers)
        setup_logging(config.output)
        if distributed.is_main():
            remove_partial(config.output)
            remove_abandoned(config.output)
        device = choose_device(config.device)
        if reads_files(config):
            join(config.data.cache)  # now, for a cache that cannot be used: testing would come to it after the training
        with memory_explained(*BUILDING):
            model = _build(config, splits.class_names).to(device)
            gflops = show_model(config, model)
        say_chosen(asked, config)
        warn_if_slow(asked.train.precision, device)
        yield Run(config, splits, model, device, loggers, gflops)


def _build(config: Config, class_names: Sequence[str]) -> Classifier | MaskedAutoencoder:
    if config.task == "train":
        # a training resumes from the newest of its own, a test takes the best
        found = list_checkpoints(config.output) or (not config.train.enable and newest_checkpoint(config.output))
        return build_seeded_model(config, class_names, trained=bool(found))
    torch.manual_seed(config.seed)
    return build_autoencoder(config)


def _occupy(folder: Path, stack: ExitStack, loggers: Loggers | None = None) -> None:
    """Until `stack` closes: this run alone in the folder, its outcome recorded there, and then told to loggers."""
    stack.enter_context(only_process_in(folder))
    stack.enter_context(full_disk_explained(folder))
    if loggers is not None:
        stack.enter_context(loggers)
    stack.enter_context(OutcomeRecorder(folder))


def show_model(config: Config, model: Classifier | MaskedAutoencoder) -> float | None:
    """Print every group of parameters with its count and share, and the cost of one test video, where there are any.

    Returns the GFLOPs of one view; None where they are not counted.
    """
    rows = [
        [group.group, f"{group.num_parameters:,}", f"{100 * group.share:.2f} %", "yes" if group.trainable else "no"]
        for group in parameter_table(model)
    ]
    show_table("Parameters", ["group", "count", "share", "trained"], rows)
    if not isinstance(model, Classifier):
        return None
    views = config.test.clips * config.test.crops
    try:
        gflops = count_gflops(model, config.data.num_frames, *sides_of(config.data.crop_px))
    except ModuleNotFoundError:
        logger.info("cost of a test video: not counted, because fvcore is not installed (pip install fvcore)")
        return None
    logger.info(
        "cost of a test video: %.3g GFLOPs x %s (multiply-adds, counted by fvcore)", gflops, counted(views, "view")
    )
    return gflops
