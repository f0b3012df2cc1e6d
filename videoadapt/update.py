"""One update: the same numbers whatever the workers, the ranks or the interruptions."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from videoadapt import distributed
from videoadapt.averaging import WeightAverage
from videoadapt.checkpoint import load_trainable_state, trainable_state
from videoadapt.data import check_batch, schedule_of
from videoadapt.errors import DecodeError, VideoAdaptError
from videoadapt.log import logger
from videoadapt.mixup import Mixup
from videoadapt.optim import build_optimizer, learning_rate, restore_optimizer, set_learning_rate
from videoadapt.run import Run, logits_of
from videoadapt.structures import ClipBatch
from videoadapt.transforms import normalise

NAMED = 10  # unreadable videos that an error names; the log names all


class Updater:
    """What an update changes (weights, their average, optimizer, scaler, `step`), and how."""

    def __init__(self, run: Run):
        config = run.config
        self.run = run
        self.schedule = schedule_of(config, len(run.splits.train))
        self.min_clips = check_batch(config, self.schedule, distributed.world_size())
        self.optimizer = build_optimizer(run.model, run.model.backbone.depth, config.optim)
        self.scaler = torch.amp.GradScaler(run.device.type, enabled=config.train.precision == "fp16")
        augment = config.data.augment
        self.mixup = Mixup(
            mixup_alpha=augment.mixup,
            cutmix_alpha=augment.cutmix,
            label_smoothing=augment.label_smoothing,
            num_classes=len(run.splits.class_names),
        )
        self.average = WeightAverage(run.model, config.train.ema) if config.train.ema is not None else None
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
        """One optimizer step over the global batch; returns loss, top-1 in percent, learning rate and epoch.

        The loss is the mean over all clips of all ranks. Raises VideoAdaptError naming the clips when it is not finite.
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
        totals = torch.zeros(2, dtype=torch.float64)
        for number, batch in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            with nullcontext() if last or not distributed.is_active() else self.wrapped.no_sync():  # type: ignore[operator]
                loss, correct = self._loss(batch, number)
                self.scaler.scale(loss * (distributed.world_size() / num_clips)).backward()
            totals += torch.tensor([loss.item(), correct.item()], dtype=torch.float64)
        totals = distributed.all_reduce(totals) / num_clips
        values |= {"loss": float(totals[0]), "top1": 100 * float(totals[1])}
        if not math.isfinite(values["loss"]):
            names = [name for part in distributed.all_gather_objects(micro_batches_ids(micro_batches)) for name in part]
            raise VideoAdaptError(
                f"step {self.step}: the loss is {values['loss']}; clips of this batch: {', '.join(names)}. "
                "Lower optim.lr_per_256, set train.clip_grad_norm, or use train.precision bf16 or fp32"
            )
        self._apply_gradients()
        self.step += 1
        return values

    def _loss(self, batch: ClipBatch, number: int) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies of a micro-batch, and how many clips are right."""
        run = self.run
        clips_BCTHW = normalise(batch.clips_BCTHW.to(run.device, non_blocking=True), batch.erase)
        labels_B = batch.labels_B.to(run.device)
        generator = torch.Generator().manual_seed(hash_seed(run.config.seed, self.step, distributed.rank(), number, 1))
        clips_BCTHW, targets_BK = self.mixup(clips_BCTHW, labels_B, generator)
        logits_BK = logits_of(self.wrapped, run.config, run.device, clips_BCTHW)
        loss = nn.functional.cross_entropy(logits_BK, targets_BK, reduction="sum")
        return loss, (logits_BK.argmax(dim=1) == labels_B).sum()

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


def hash_seed(*parts: int) -> int:
    """A 63-bit seed from whole numbers, the same on every machine."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def micro_batches_ids(micro_batches: list[ClipBatch]) -> list[str]:
    """Names of all clips of an update on this rank."""
    return [name for batch in micro_batches for name in batch.video_ids]
