"""Accuracy and loss on the validation list during training."""

from collections.abc import Callable
from typing import Any

import numpy as np

from videoadapt import logger
from videoadapt.errors import Diverged, Interrupted, NotFinite, counted
from videoadapt.evaluation.multi_label import MultiPredictions
from videoadapt.evaluation.of_labels import OF_LABELS
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.runs.build_data import build_test_loader
from videoadapt.runs.memory import VALIDATION, memory_explained
from videoadapt.runs.run import Run

SAID = {"top1": "top-1", "mAP": "mAP"}


def validate(run: Run, step: int, interruption: Callable[[], Interrupted | None] = lambda: None) -> dict[str, Any]:
    """Return the measures (in percent) of the model on `run.splits.val`, and `loss`: None where no video can be read.

    A video has `train.validate_clips` x `train.validate_crops` views, averaged as `test.average` says; the loss is the mean
    (binary) cross-entropy of the views, without label smoothing. With `data.labels` multi, `thresholds` are the best of each
    class here.

    Raises Diverged, naming the step and the video, when a logit is not finite, and what `interruption` returns meanwhile.
    """
    config, videos = run.config, run.splits.val
    num_clips, num_crops = config.train.validate_clips, config.train.validate_crops
    accumulator = ViewAccumulator(videos, num_clips, num_crops, len(run.splits.class_names))
    loader = build_test_loader(videos, config.data, num_clips, num_crops, device=run.device)
    run.model.eval()
    with run.testing_forward() as forward:
        try:
            with memory_explained(*VALIDATION):
                evaluate(forward, loader, accumulator, config.test.batch_size, interruption)
        except NotFinite as error:
            raise Diverged(step, "validation", str(error)) from error
    predictions = accumulator.predictions(config.test.average, config.data.labels)
    loss = predictions.loss()
    if isinstance(predictions, MultiPredictions):
        predictions.thresholds_K = np.array(predictions.best_thresholds())
    results = {**predictions.results(), "loss": loss if loss is None else round(loss, 6)}
    views = "one view" if num_clips * num_crops == 1 else f"{num_clips} x {num_crops} views"
    shown = "none" if loss is None else f"{loss:.4f}"
    name = OF_LABELS[config.data.labels].best_by
    score = "none" if results[name] is None else f"{results[name]:.2f} %"
    logger.info("step %d: validation %s %s, loss %s (%s each)", step, SAID[name], score, shown, views)
    if results["num_unreadable"]:
        logger.warning(
            "validation: %s as wrong",
            counted(results["num_unreadable"], "video cannot be read and counts", "videos cannot be read and count"),
        )
    return results
