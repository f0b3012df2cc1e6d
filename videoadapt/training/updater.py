"""One update: the same numbers whatever the workers, the ranks or the interruptions."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from videoadapt import distributed
from videoadapt.data.structures import ClipBatch
from videoadapt.errors import DecodeError, NotFinite
from videoadapt.log import logger
from videoadapt.models.backbones._layers import Block
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.runs.build import schedule_of
from videoadapt.runs.inputs import check_batch
from videoadapt.runs.run import Run
from videoadapt.seeds import hash_seed
from videoadapt.training.optimizer import build_optimizer, learning_rate, restore_optimizer, set_learning_rate
from videoadapt.training.weight_average import WeightAverage

NAMED = 10  # unreadable videos that an error names; the log names all


class Objective(Protocol):
    """What a task makes of a batch."""

    def __call__(self, model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Sums over the clips of a batch, by name; the gradient is that of `loss`. Random choices come from `generator`."""


class Updater:
    """What an update changes (weights, their average, optimizer, scaler, `step`), and how."""

    def __init__(self, run: Run, objective: Objective):
        config = run.config
        self.run, self.objective = run, objective
        self.schedule = schedule_of(config, run.splits.train)
        self.min_clips = check_batch(config, self.schedule, distributed.world_size())
        self.optimizer = build_optimizer(run.model, run.model.backbone.depth, config.optim)
        self.scaler = torch.amp.GradScaler(run.device.type, enabled=config.train.precision == "fp16")
        self.average = WeightAverage(run.model, config.train.ema) if config.train.ema is not None else None
        if config.train.compile:
            for module in run.model.modules():
                if isinstance(module, Block):
                    module.compile(dynamic=False)
        self.step = 0
        self.unreadable: dict[str, str] = {}
        self.wrapped: nn.Module = run.model
        if distributed.is_active():
            devices = [run.device] if run.device.type == "cuda" else None
            self.wrapped = DistributedDataParallel(run.model, device_ids=devices)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs in order to go on from here."""
        return {
            "step": self.step,
            "model": trainable_state(self.run.model),
            "ema": self.average.state if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "unreadable": self.unreadable,
        }

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Go on from a `state` read from `path`. Raises CheckpointError when it does not fit the model or the optimizer."""
        load_trainable_state(self.run.model, state["model"], path)
        restore_optimizer(self.optimizer, state["optimizer"], path)
        if state["scaler"]:  # empty when it was saved in another precision
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.restore(state["ema"] or state["model"])
        self.step, self.unreadable = state["step"], state["unreadable"]

    def say_unreadable(self) -> None:
        """Log how many training videos could not be read so far."""
        if self.unreadable:
            number, total = len(self.unreadable), len(self.run.splits.train)
            logger.warning(
                "training went without %d of %d videos (%.2g %%), each named above with its reason",
                number, total, 100 * number / total,
            )  # fmt: skip

    def update(self, micro_batches: list[ClipBatch]) -> dict[str, float]:
        """One optimizer step over the global batch; returns learning rate, epoch, and the objective's values.

        Values (loss, top-1 in percent) are means over all clips of all ranks. Raises NotFinite naming the clips when the
        loss is.
        """
        config, schedule = self.run.config, self.schedule
        lr = learning_rate(self.step, schedule.steps_per_epoch, schedule.epochs, schedule.batch_size, config.optim)
        set_learning_rate(self.optimizer, lr)
        self._note_unreadable(micro_batches)
        counts = torch.tensor([float(len(batch.labels_B)) for batch in micro_batches])
        num_clips = float(distributed.all_reduce(counts.sum()))
        values = {"lr": lr, "epoch": self.step / schedule.steps_per_epoch}
        if float(distributed.all_reduce(counts.min(), "min")) < self.min_clips:
            logger.warning("step %d: too few readable clips for an update; skipped", self.step)
            self.step += 1
            return values | {"skipped": 1.0}
        self.wrapped.train()
        torch.manual_seed(hash_seed(config.seed, self.step, distributed.rank()))  # dropout and drop path
        totals: dict[str, float] = {}
        for number, batch in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            with nullcontext() if last or not distributed.is_active() else self.wrapped.no_sync():  # type: ignore[operator]
                generator = torch.Generator().manual_seed(
                    hash_seed(config.seed, self.step, distributed.rank(), number, 1)
                )
                sums = self.objective(self.wrapped, batch, generator)
                self.scaler.scale(sums["loss"] * (distributed.world_size() / num_clips)).backward()
            totals = {name: totals.get(name, 0.0) + value.item() for name, value in sums.items()}
        means = distributed.all_reduce(torch.tensor(list(totals.values()), dtype=torch.float64)) / num_clips
        values |= dict(zip(totals, means.tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            names = [name for part in distributed.all_gather_objects(micro_batches_ids(micro_batches)) for name in part]
            raise NotFinite(
                f"step {self.step}: the loss is {values['loss']}; clips of this batch: {', '.join(names)}. "
                "Lower optim.lr_per_256, set train.clip_grad_norm, or use train.precision bf16 or fp32"
            )
        self._apply_gradients()
        self.step += 1
        return values

    def _apply_gradients(self) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.run.config.train.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(parameters, self.run.config.train.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()

    def _note_unreadable(self, micro_batches: list[ClipBatch]) -> None:
        """Name each unreadable training video once; stop when they are more than `data.max_unreadable`."""
        mine = {
            item.video.id: f"line {item.video.line}: {item.reason}"
            for batch in micro_batches
            for item in batch.unreadable
        }
        if not float(distributed.all_reduce(torch.tensor(float(len(mine))))):
            return
        for part in distributed.all_gather_objects(mine):
            for name, reason in part.items():
                if name not in self.unreadable:
                    logger.warning("training skips %s of data.train, %s", name, reason)
                self.unreadable[name] = reason
        limit = self.run.config.data.max_unreadable
        if len(self.unreadable) > limit * len(self.run.splits.train):
            names = list(self.unreadable)
            more = f" and {len(names) - NAMED} more, all named in run.log" if len(names) > NAMED else ""
            raise DecodeError(
                f"{len(names)} of {len(self.run.splits.train)} training videos cannot be read, more than "
                f"data.max_unreadable = {limit}: {', '.join(names[:NAMED])}{more}; mend them, take them out of data.train, or "
                "raise data.max_unreadable"
            )


def micro_batches_ids(micro_batches: list[ClipBatch]) -> list[str]:
    """Names of all clips of an update on this rank."""
    return [name for batch in micro_batches for name in batch.video_ids]
