"""The training loop: what happens around an update, from the checkpoint to go on from to the last one."""

import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from typing import Any

import torch

from videoadapt import distributed
from videoadapt.data.structures import ClipBatch
from videoadapt.errors import ConfigError, Interrupted, NotFinite
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.files import read_jsonl
from videoadapt.log import logger
from videoadapt.models.parameters import trainable_state
from videoadapt.processes.signals import ASKING, stop_on_signal, weight
from videoadapt.runs.build import build_test_loader, build_train_loader, rendered_batches
from videoadapt.runs.checkpoint import save_checkpoint, save_newest
from videoadapt.runs.folder import save_description
from videoadapt.runs.forward import forward
from videoadapt.runs.metrics import MetricsWriter
from videoadapt.runs.run import Run
from videoadapt.terminal import progress
from videoadapt.training.classification import Classification
from videoadapt.training.reconstruction import Reconstruction
from videoadapt.training.resume import check_may_resume, newest_readable
from videoadapt.training.updater import Updater


def train(run: Run) -> None:
    """Train until `train.epochs`, going on from the newest checkpoint where there is one.

    Raises Interrupted after saving, when SIGINT, SIGTERM or SIGUSR2 arrives.
    """
    trainer = Trainer(run)
    save_description(run.config, run.splits.class_names)
    if trainer.step == trainer.total_steps:
        logger.info("training is complete (%d steps)", trainer.step)
        return
    writer = MetricsWriter(run.folder, trainer.step)
    try:
        with (
            stop_on_signal() as stop,
            progress("train", trainer.total_steps, "steps") as line,
            closing(trainer.batches()) as batches,
        ):
            line.start_at(trainer.step)
            while trainer.step < trainer.total_steps:
                start = time.perf_counter()
                micro_batches = [next(batches) for _ in range(run.config.train.accumulate)]
                waited = time.perf_counter() - start
                values = trainer.updater.update(micro_batches)
                took = time.perf_counter() - start
                writer.metrics("train", trainer.step, **values)
                speed = run.config.train.batch_size * run.config.data.augment.repeated / took
                writer.timing(trainer.step, clips_per_sec=speed, data_sec=waited, step_sec=took)
                shown = f"loss {values['loss']:.3f}" if "loss" in values else "skipped"
                shown += f"  top-1 {values['top1']:.1f} %" if "top1" in values else ""
                line.advance(f"{shown}  lr {values['lr']:.2g}  {speed:.0f} clips/s")
                asked = int(distributed.all_reduce(torch.tensor(float(weight(stop))), "max"))  # all ranks, or none
                trainer.after_update(writer, bool(asked))
                if asked and trainer.step < trainer.total_steps:
                    raise Interrupted(
                        f"stopped at step {trainer.step}; run the same command again to go on from there",
                        ASKING[asked - 1],
                    )
        trainer.updater.say_unreadable()
    finally:
        writer.close()
        try:
            if distributed.is_main():
                from videoadapt.runs.pictures import plot_curves  # matplotlib is slow to import

                plot_curves(read_jsonl(run.folder / "metrics.jsonl"), run.folder / "curves.png")
        except OSError as error:  # a full disk may be what ended the loop, and that error says more
            logger.warning("curves.png cannot be written: %s", error.strerror)


class Trainer:
    """An updater, the checkpoints it goes on from and leaves behind, and the validation in between."""

    def __init__(self, run: Run):
        self.run = run
        self.updater = Updater(run, Reconstruction(run) if run.config.task == "pretrain" else Classification(run))
        self.best_top1: float | None = None
        self._resume()

    @property
    def step(self) -> int:
        """Updates done."""
        return self.updater.step

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self.updater.schedule.total_steps

    def batches(self) -> Generator[ClipBatch, None, None]:
        """This rank's micro-batches from the present step to the end of training."""
        config, splits = self.run.config, self.run.splits
        if config.data.rendered is not None:
            return rendered_batches(config, self.step, self.total_steps, self.run.device)
        return iter(build_train_loader(splits.train, config.data, self.updater.schedule, self.step))

    def after_update(self, writer: MetricsWriter, stopping: bool) -> None:
        """Validate, draw and save where this step asks for it."""
        config, run, finished = self.run.config, self.run, self.step == self.total_steps
        epoch, rest = divmod(self.step, self.updater.schedule.steps_per_epoch)
        if run.splits.val and (finished or (rest == 0 and epoch % config.train.validate_every_epochs == 0)):
            self._validate(writer)
        if config.task == "pretrain" and (
            finished or (rest == 0 and epoch % config.pretrain.picture_every_epochs == 0)
        ):
            from videoadapt.training.pictures import draw_reconstructions  # matplotlib is slow to import

            draw_reconstructions(run)
        if stopping or finished or rest == 0 or self.step % config.train.checkpoint_every_steps == 0:
            writer.sync()
            self._save()

    def _validate(self, writer: MetricsWriter) -> None:
        config, run, average = self.run.config, self.run, self.updater.average
        accumulator = ViewAccumulator(run.splits.val, 1, 1, len(run.splits.class_names))
        loader = build_test_loader(run.splits.val, config.data, num_clips=1, num_crops=1)
        run.model.eval()
        with average.swapped_in() if average is not None else nullcontext():
            try:
                evaluate(
                    lambda clips: forward(run.model, config, run.device, clips),
                    loader,
                    accumulator,
                    config.test.batch_size,
                )
            except NotFinite as error:
                raise NotFinite(f"step {self.step}: validation: {error}") from error
        results = accumulator.predictions(config.test.average).results()
        writer.metrics("val", self.step, top1=results["top1"], top5=results["top5"])
        logger.info("step %d: validation top-1 %.2f %% (one view each)", self.step, results["top1"])
        if results["num_unreadable"]:
            logger.warning("validation: %d videos cannot be read and count as wrong", results["num_unreadable"])
        if self.best_top1 is None or results["top1"] > self.best_top1:
            self.best_top1 = results["top1"]
            weights = average.state if average is not None else trainable_state(run.model)
            best = {"step": self.step, "model": weights, "ema": None, "val_top1": self.best_top1}
            distributed.on_main(lambda: save_checkpoint(run.best_checkpoint, best))

    def _save(self) -> None:
        state = {
            **self.updater.state(),
            "best_top1": self.best_top1,
            "ranks": distributed.world_size(),
            "config": self._described(),
        }
        distributed.on_main(lambda: save_newest(self.run.folder, state, self.run.config.train.keep_checkpoints))

    def _described(self) -> dict[str, Any]:
        """The config, and what is in the lists that it names."""
        splits = self.run.splits
        lists = {"train": splits.fingerprint(splits.train), "val": splits.fingerprint(splits.val)}
        return {**self.run.config.model_dump(mode="json"), "lists": lists}

    def _resume(self) -> None:
        found = newest_readable(self.run.folder)
        if found is None:
            return
        path, state = found
        changed = check_may_resume(self.run.config.train.resume, state["config"], self._described(), path)
        if state["step"] > self.total_steps:
            raise ConfigError(f"{path}: is past the {self.total_steps} steps of this config; raise train.epochs")
        if state["ranks"] != distributed.world_size():
            ranks = state["ranks"], distributed.world_size()
            logger.warning(
                "saved by %d processes, going on with %d: other dropout and BatchNorm than in one go", *ranks
            )
        self.updater.restore(state, path)
        if all(key != "lists.val" for key, _, _ in changed):  # another list has another best
            self.best_top1 = state["best_top1"]
        logger.info("going on from %s at step %d of %d", path, self.step, self.total_steps)
