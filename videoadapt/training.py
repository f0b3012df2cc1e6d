"""The training loop: one update is the same numbers whatever the workers, the ranks or the interruptions."""

import math
import time
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from videoadapt import distributed
from videoadapt.averaging import WeightAverage
from videoadapt.checkpoint import (
    check_same_config,
    load_checkpoint,
    load_trainable_state,
    save_checkpoint,
    trainable_state,
)
from videoadapt.config import Config
from videoadapt.data import Schedule, build_test_loader, build_train_loader
from videoadapt.errors import ConfigError, DecodeError, Interrupted, VideoAdaptError
from videoadapt.evaluation import ViewAccumulator, evaluate
from videoadapt.log import MetricsWriter, logger, progress, read_records
from videoadapt.mixup import Mixup
from videoadapt.optim import build_optimizer, learning_rate, set_learning_rate
from videoadapt.report import plot_curves
from videoadapt.run import Run, forward, logits_of
from videoadapt.signals import stop_on_signal
from videoadapt.structures import ClipBatch
from videoadapt.transforms import normalise


def train(run: Run) -> None:
    """Train until `train.epochs`, going on from `checkpoints/last.pt` where it exists.

    Raises Interrupted after saving, when SIGINT or SIGTERM arrives.
    """
    trainer = Trainer(run)
    if trainer.step == trainer.schedule.total_steps:
        logger.info("training is complete (%d steps)", trainer.step)
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    writer = MetricsWriter(run.folder, trainer.step)
    try:
        with stop_on_signal() as stop, progress("train", trainer.schedule.total_steps, "steps") as line:
            line.start_at(trainer.step)
            loader = build_train_loader(run.splits.train, run.config.data, trainer.schedule, trainer.step)
            batches = iter(loader)
            while trainer.step < trainer.schedule.total_steps:
                start = time.perf_counter()
                micro_batches = [next(batches) for _ in range(run.config.train.accumulate)]
                waited = time.perf_counter() - start
                values = trainer.update(micro_batches)
                took = time.perf_counter() - start
                writer.metrics("train", trainer.step, **values)
                speed = run.config.train.batch_size * run.config.data.augment.repeated / took
                writer.timing(trainer.step, clips_per_sec=speed, data_sec=waited, step_sec=took)
                shown = f"loss {values['loss']:.3f}  top-1 {values['top1']:.1f} %" if "loss" in values else "skipped"
                line.advance(f"{shown}  lr {values['lr']:.2g}  {speed:.0f} clips/s")
                stopping = bool(distributed.all_reduce(torch.tensor(float(bool(stop))), "max"))
                trainer.after_update(writer, stopping)
                if stopping and trainer.step < trainer.schedule.total_steps:
                    raise Interrupted(f"stopped at step {trainer.step}; run the same command again to go on from there")
    finally:
        writer.close()
        if distributed.is_main():
            plot_curves(read_records(run.folder / "metrics.jsonl"), run.folder / "curves.png")


class Trainer:
    """State of a training run and what one update does to it."""

    def __init__(self, run: Run):
        config = run.config
        self.run = run
        self.schedule = Schedule(
            len(run.splits.train), config.train.batch_size, config.train.epochs, config.train.accumulate, config.seed
        )
        self.min_clips = _check_batch(config, self.schedule)
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
        self.best_top1: float | None = None
        self.unreadable: dict[str, str] = {}
        if run.last_checkpoint.is_file():
            self._resume()
        self.wrapped: nn.Module = run.model
        if distributed.is_active():
            devices = [run.device] if run.device.type == "cuda" else None
            self.wrapped = DistributedDataParallel(run.model, device_ids=devices)

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

    def after_update(self, writer: MetricsWriter, stopping: bool) -> None:
        """Validate and save where this step asks for it."""
        config, run, finished = self.run.config, self.run, self.step == self.schedule.total_steps
        epoch, rest = divmod(self.step, self.schedule.steps_per_epoch)
        if run.splits.val and (finished or (rest == 0 and epoch % config.train.validate_every_epochs == 0)):
            self._validate(writer)
        if stopping or finished or rest == 0 or self.step % config.train.checkpoint_every_steps == 0:
            self._save()

    def _validate(self, writer: MetricsWriter) -> None:
        config, run = self.run.config, self.run
        accumulator = ViewAccumulator(run.splits.val, 1, 1, len(run.splits.class_names))
        loader = build_test_loader(run.splits.val, config.data, num_clips=1, num_crops=1)
        run.model.eval()
        with self.average.swapped_in() if self.average is not None else nullcontext():
            evaluate(
                lambda clips: forward(run.model, config, run.device, clips),
                loader,
                accumulator,
                1,
                config.test.batch_size,
            )
        results = accumulator.predictions(config.test.average).results()
        writer.metrics("val", self.step, top1=results["top1"], top5=results["top5"])
        logger.info("step %d: validation top-1 %.2f %% (one view each)", self.step, results["top1"])
        if results["num_unreadable"]:
            logger.warning("validation: %d videos cannot be read and count as wrong", results["num_unreadable"])
        if self.best_top1 is None or results["top1"] > self.best_top1:
            self.best_top1 = results["top1"]
            if distributed.is_main():
                weights = self.average.state if self.average is not None else trainable_state(run.model)
                save_checkpoint(
                    run.best_checkpoint, {"step": self.step, "model": weights, "ema": None, "val_top1": self.best_top1}
                )

    def _save(self) -> None:
        if distributed.is_main():
            state = {
                "step": self.step,
                "model": trainable_state(self.run.model),
                "ema": self.average.state if self.average is not None else None,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "best_top1": self.best_top1,
                "unreadable": self.unreadable,
                "config": self.run.config.model_dump(mode="json"),
            }
            save_checkpoint(self.run.last_checkpoint, state)
        distributed.barrier()

    def _resume(self) -> None:
        path = self.run.last_checkpoint
        state = load_checkpoint(path)
        check_same_config(state["config"], self.run.config.model_dump(mode="json"), path)
        load_trainable_state(self.run.model, state["model"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.best_top1, self.unreadable = state["step"], state["best_top1"], state["unreadable"]
        if self.average is not None:
            self.average.restore(state["ema"])
        logger.info("going on from %s at step %d of %d", path, self.step, self.schedule.total_steps)

    def _note_unreadable(self, micro_batches: list[ClipBatch]) -> None:
        """Name each unreadable training video once; stop when they are more than `data.max_unreadable`."""
        mine = {item.video.id: item.reason for batch in micro_batches for item in batch.unreadable}
        if not float(distributed.all_reduce(torch.tensor(float(len(mine))))):
            return
        for part in distributed.all_gather_objects(mine):
            for name, reason in part.items():
                if name not in self.unreadable:
                    logger.warning("training skips %s: %s", name, reason)
                self.unreadable[name] = reason
        limit = self.run.config.data.max_unreadable
        if len(self.unreadable) > limit * len(self.run.splits.train):
            raise DecodeError(
                f"{len(self.unreadable)} of {len(self.run.splits.train)} training videos cannot be read, more than "
                f"data.max_unreadable = {limit}: {', '.join(self.unreadable)}"
            )


def hash_seed(*parts: int) -> int:
    """A 63-bit seed from whole numbers, the same on every machine."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def micro_batches_ids(micro_batches: list[ClipBatch]) -> list[str]:
    """Names of all clips of an update on this rank."""
    return [name for batch in micro_batches for name in batch.video_ids]


def _check_batch(config: Config, schedule: Schedule) -> int:
    """Check that the batch divides; return how many clips a rank needs in a micro-batch."""
    parts = distributed.world_size() * config.train.accumulate
    if schedule.batch_size % parts:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: not divisible by {distributed.world_size()} ranks x "
            f"train.accumulate {config.train.accumulate}"
        )
    if not schedule.steps_per_epoch:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: data.train has only {schedule.num_videos} videos after the "
            "hold-out, so there is no full batch; choose a smaller one"
        )
    head = config.model.head
    local = schedule.batch_size * config.data.augment.repeated // parts
    needed = 2 if head.batch_norm and not (head.sync and distributed.world_size() > 1) else 1
    if local < needed:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: leaves one clip for a forward pass, and BatchNorm in the head needs "
            "two; choose a larger one, or set model.head.batch_norm false"
        )
    return needed
