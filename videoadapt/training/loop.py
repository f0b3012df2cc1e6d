"""The training loop: what happens around an update, from the checkpoint to resume from to the last one."""

import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import torch

from videoadapt import distributed, logger
from videoadapt.data.structures import ClipBatch
from videoadapt.errors import Diverged, Interrupted, VideoAdaptError, counted, is_of_memory
from videoadapt.evaluation.of_labels import OF_LABELS
from videoadapt.files import write_json
from videoadapt.log import progress
from videoadapt.models.parameters import trainable_state
from videoadapt.models.sharding import whole
from videoadapt.processes.signals import ASKING, priority, stop_on_signal
from videoadapt.runs.build_data import build_train_loader, rendered_batches, schedule_of
from videoadapt.runs.checkpoint import checkpoint_of, save_checkpoint, save_newest
from videoadapt.runs.folder import save_description
from videoadapt.runs.metrics import MetricsWriter, read_metrics
from videoadapt.runs.outcome import note_early_stop
from videoadapt.runs.rates import Rates, rates_in
from videoadapt.runs.run import Run
from videoadapt.training.build import build_updater
from videoadapt.training.patience import Patience
from videoadapt.training.resume import check_same_model, described, find_resumable, fingerprint, keep_or_set_aside_best
from videoadapt.training.unreadable import DamagedVideos, UnreadableVideos
from videoadapt.training.validation import validate


def train(run: Run) -> None:
    """Train until `train.epochs`, or until `train.stop_early` ends it, resuming from the newest checkpoint where there is one.

    Raises Interrupted after saving, when SIGINT, SIGTERM or SIGUSR2 arrives; Diverged when a loss or a validation is not
    finite; DecodeError when too many videos cannot be read.
    """
    trainer = Trainer(run)
    save_description(run.config, run.splits.class_names, trainer.step if trainer.changed else None)
    if trainer.is_done and not trainer.awaits_validation:
        logger.info("training is complete (%s)", counted(trainer.step, "step"))
        trainer.say_stopped_early()
        trainer.leave_rates()
        trainer.updater.hand_over(run.model, run.device)
        return
    writer = MetricsWriter(run.folder, trainer.step, run.loggers, trainer.awaits_validation)
    draws = distributed.is_main()
    try:
        if trainer.awaits_validation:
            trainer.after_update(writer, stopping=False)
        if not trainer.is_done:
            _update_to_the_end(trainer, writer)
        trainer.say_stopped_early()
        trainer.unreadable.log_total()
        trainer.damaged.log_total()
        trainer.leave_rates()
        trainer.updater.hand_over(run.model, run.device)
    except Interrupted as interrupted:
        # a scheduler kills soon after it has asked: the next attempt draws
        draws &= interrupted.number == signal.SIGINT
        raise
    except Exception as error:
        draws &= not is_of_memory(error)  # there is none for a picture either, and that error says more
        raise
    finally:
        writer.close()
        if draws:
            _draw_curves(run)


def _update_to_the_end(trainer: "Trainer", writer: MetricsWriter) -> None:
    """Make all updates that are left. Raises Interrupted after the one, saved, at or after which a signal asks for it."""
    with (
        stop_on_signal() as stop,
        progress("train", trainer.total_steps, "steps") as line,
        closing(trainer.batches()) as batches,
    ):
        line.start_at(trainer.step)
        while not trainer.is_done:
            line.advance(trainer.advance(batches, writer))
            asked = int(distributed.all_reduce(torch.tensor(float(priority(stop))), "max"))  # all ranks, or none
            interrupted = _interruption(asked, trainer.step)
            trainer.after_update(writer, interrupted is not None, lambda: _interruption(priority(stop), trainer.step))
            if interrupted is not None:
                raise interrupted


def _interruption(asked: int, step: int) -> Interrupted | None:
    """What ends a training, saved at this step, where a signal of the priority `asked` came; None where none did."""
    if not asked:
        return None
    said = f"stopped at step {step}; run the same command again to resume from there"
    return Interrupted(said, ASKING[asked - 1], step)


def _draw_curves(run: Run) -> None:
    try:
        from videoadapt.runs.curves import plot_curves  # matplotlib is slow to import

        plot_curves(read_metrics(run.folder), run.folder / "curves.png")
    except (OSError, VideoAdaptError) as error:  # a full disk may be what ended the loop, and that error says more
        logger.warning("curves.png cannot be written: %s", error.strerror if isinstance(error, OSError) else error)


class Trainer:
    """An updater, the checkpoints it resumes from and leaves behind, and the validation in between."""

    def __init__(self, run: Run):
        """Raises ConfigError or CheckpointError when the run cannot resume from what is in its folder."""
        self.run = run
        self.schedule = schedule_of(run.config, run.splits.train)
        self.updater = build_updater(run, self.schedule)
        self.damaged = DamagedVideos()
        self.rates = Rates()
        self.unreadable = UnreadableVideos(len(run.splits.train), run.config.data.max_unreadable)
        self.best_by = OF_LABELS[run.config.data.labels].best_by
        self.best_score: float | None = None
        self.patience = Patience(run.config.train.stop_early, self.schedule.steps_per_epoch)
        self.described = described(run.config, run.splits)
        self.origin = fingerprint(self.described)
        self.changed: list[str] = []  # keys whose values were others before this training was resumed by force
        # whether the checkpoint that it resumes from was saved before the validation of its step
        self.awaits_validation = False
        self._resume()

    @property
    def step(self) -> int:
        """Updates done."""
        return self.updater.step

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self.schedule.total_steps

    @property
    def is_done(self) -> bool:
        """Whether no update is to follow."""
        return self.step == self.total_steps or self.patience.is_out

    def say_stopped_early(self) -> None:
        """Where the training is done before all its updates are, log why, and have the outcome say so."""
        if self.step < self.total_steps:
            logger.info("stopped early at step %d of %d: %s", self.step, self.total_steps, self.patience)
            note_early_stop(self.run.folder, self.step)

    def batches(self) -> Generator[ClipBatch, None, None]:
        """This rank's micro-batches from the present step to the end of training."""
        config, splits = self.run.config, self.run.splits
        if config.data.rendered is not None:
            return rendered_batches(config, self.step, self.total_steps, self.run.device)
        num_classes = len(splits.class_names) if config.data.labels == "multi" and config.task == "train" else None
        return iter(
            build_train_loader(splits.train, config.data, self.schedule, self.step, self.run.device, num_classes)
        )

    def advance(self, batches: Iterator[ClipBatch], writer: MetricsWriter) -> str:
        """Make one update and write its record; return a few words on it for the progress bar."""
        config, start = self.run.config, time.perf_counter()
        micro_batches = [next(batches) for _ in range(config.train.accumulate)]
        waited = time.perf_counter() - start
        self.unreadable.note(micro_batches)
        self.damaged.note(micro_batches)
        self.rates.note(rate_hz for batch in micro_batches for rate_hz in batch.rates_hz)
        lr, epoch = self.updater.learning_rate(self.step), self.step / self.schedule.steps_per_epoch
        values = self.updater.update(micro_batches)
        took = time.perf_counter() - start
        writer.metrics("train", self.step, lr=lr, epoch=epoch, **values)
        speed = config.train.batch_size * config.data.augment.repeated / took
        writer.timing(self.step, clips_per_sec=speed, data_sec=waited, step_sec=took)
        loss = f"loss {values['loss']:.3f}" if "loss" in values else "skipped"
        top1 = f"  top-1 {values['top1']:.1f} %" if "top1" in values else ""
        return f"{loss}{top1}  lr {lr:.2g}  {speed:.0f} clips/s"

    def after_update(
        self, writer: MetricsWriter, stopping: bool, interruption: Callable[[], Interrupted | None] = lambda: None
    ) -> None:
        """Validate, draw and save where this step asks for it; when `stopping`, save alone: the next attempt validates.

        Raises what `interruption` returns while it validates, with this step saved.
        """
        config, run, finished = self.run.config, self.run, self.step == self.total_steps
        epoch, rest = divmod(self.step, self.schedule.steps_per_epoch)
        if run.splits.val and (finished or (rest == 0 and epoch % config.train.validate_every_epochs == 0)):
            if not self.awaits_validation:  # which may take long, and may be killed
                writer.sync()
                self._save(awaits_validation=True)
            if stopping:
                return
            self._validate(writer, interruption)
        self.awaits_validation = False
        if config.task == "pretrain" and (
            finished or (rest == 0 and epoch % config.pretrain.picture_every_epochs == 0)
        ):
            from videoadapt.training.pictures import draw_reconstructions  # matplotlib is slow to import

            with self.updater.weights_in(run.model, run.device):
                draw_reconstructions(run)
        if stopping or finished or rest == 0 or self.step % config.train.checkpoint_every_steps == 0:
            writer.sync()
            self._save()

    def _validate(self, writer: MetricsWriter, interruption: Callable[[], Interrupted | None]) -> None:
        run, average = self.run, self.updater.average
        try:
            with self.updater.weights_in(run.model, run.device, averaged=True):
                results = validate(run, self.step, interruption)
        except Diverged:  # a training that is resumed with other values needs the checkpoint before
            checkpoint_of(run.folder, self.step).unlink(missing_ok=True)
            raise
        measured = {key: results[key] for key in ("top1", "top5", "mAP", "loss") if results.get(key) is not None}
        writer.metrics("val", self.step, **measured)
        self.patience.note(self.step, results)
        score = results[self.best_by]
        if score is not None and (self.best_score is None or score > self.best_score):
            self.best_score = score
            weights = whole(average.state if average is not None else trainable_state(self.updater.model))
            best = {"step": self.step, "model": weights, "ema": None, f"val_{self.best_by}": score, **self._rates()}
            if "thresholds" in results:
                best["thresholds"] = results["thresholds"]
            distributed.on_main(lambda: save_checkpoint(run.best_checkpoint, {**best, **self._facts()}))

    def _save(self, awaits_validation: bool = False) -> None:
        state = {
            **self.updater.state(),
            "unreadable": self.unreadable.reasons,
            f"best_{self.best_by}": self.best_score,
            "patience": self.patience.state(),
            "ranks": distributed.world_size(),
            "awaits_validation": awaits_validation,
            **self._rates(),
        }
        keep = self.run.config.train.keep_checkpoints + awaits_validation  # where that diverges, this one goes
        distributed.on_main(lambda: save_newest(self.run.folder, {**state, **self._facts()}, keep))

    def _rates(self) -> dict[str, Any]:
        """The rates of the videos so far, of all ranks; every rank calls it."""
        return {"rates": self.rates.of_all_ranks().as_dict()}

    def leave_rates(self) -> None:
        """Say what rates the training's videos had, and write it into the run's folder; every rank calls it."""
        rates = self.rates.of_all_ranks()
        if rates and distributed.is_main():
            logger.info("trained on videos of %s frames a second", rates)
            write_json(self.run.folder / "rates.json", rates.as_dict())

    def _facts(self) -> dict[str, Any]:
        """What every checkpoint says of the training that it is of."""
        return {"config": self.described, "statement": self.run.statement.as_dict(), "origin": self.origin}

    def _resume(self) -> None:
        run, mode = self.run, self.run.config.train.resume
        found = find_resumable(run.folder, mode, self.described, self.total_steps, distributed.world_size())
        if found is None:
            return
        check_same_model(found.state, run.statement, found.path)
        self.changed, self.origin = found.changed, found.state.get("origin", self.origin)
        self.updater.restore(found.state, found.path)
        self.unreadable.reasons = found.state["unreadable"]
        self.rates = rates_in(found.state) if distributed.is_main() else Rates()  # those of all ranks, counted once
        validated: dict[str, Any] = {}
        if keep_or_set_aside_best(run.folder, mode, self._facts(), found.state["step"]):
            validated = found.state
        self.best_score = validated.get(f"best_{self.best_by}")
        self.patience.restore(validated.get("patience"), self.step)
        self.awaits_validation = found.state.get("awaits_validation", False)  # an older version saves none before
        logger.info("resuming from %s at step %d of %d", found.path, self.step, self.total_steps)
