"""Accuracy and loss on the validation list during training."""

from typing import Any

from videoadapt import logger
from videoadapt.errors import Diverged, NotFinite
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.runs.build_data import build_test_loader
from videoadapt.runs.memory import VALIDATION, memory_explained
from videoadapt.runs.run import Run


def validate(run: Run, step: int) -> dict[str, Any]:
    """Return the accuracies (in percent) of the model on `run.splits.val`, and `loss`: None where no video can be read.

    A video has `train.validate_clips` x `train.validate_crops` views, averaged as `test.average` says; the loss is the mean
    cross-entropy of the views, without label smoothing.

    Raises Diverged, naming the step and the video, when a logit is not finite.
    """
    config, videos = run.config, run.splits.val
    num_clips, num_crops = config.train.validate_clips, config.train.validate_crops
    accumulator = ViewAccumulator(videos, num_clips, num_crops, len(run.splits.class_names))
    loader = build_test_loader(videos, config.data, num_clips, num_crops, device=run.device)
    run.model.eval()
    with run.testing_forward() as forward:
        try:
            with memory_explained(*VALIDATION):
                evaluate(forward, loader, accumulator, config.test.batch_size)
        except NotFinite as error:
            raise Diverged(step, "validation", str(error)) from error
    predictions = accumulator.predictions(config.test.average)
    loss = predictions.loss()
    results = {**predictions.results(), "loss": loss if loss is None else round(loss, 6)}
    views = "one view" if num_clips * num_crops == 1 else f"{num_clips} x {num_crops} views"
    shown = "none" if loss is None else f"{loss:.4f}"
    logger.info("step %d: validation top-1 %.2f %%, loss %s (%s each)", step, results["top1"], shown, views)
    if results["num_unreadable"]:
        logger.warning("validation: %d videos cannot be read and count as wrong", results["num_unreadable"])
    return results
