"""Accuracy on the validation list during training, one view a video."""

from typing import Any

from videoadapt import logger
from videoadapt.errors import Diverged, NotFinite
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.runs.build_data import build_test_loader
from videoadapt.runs.memory import VALIDATION, memory_explained
from videoadapt.runs.run import Run


def validate(run: Run, step: int) -> dict[str, Any]:
    """Return the accuracies (in percent) of the model on `run.splits.val`.

    Raises Diverged, naming the step and the video, when a logit is not finite.
    """
    config, videos = run.config, run.splits.val
    accumulator = ViewAccumulator(videos, 1, 1, len(run.splits.class_names))
    loader = build_test_loader(videos, config.data, num_clips=1, num_crops=1, device=run.device)
    run.model.eval()
    with run.testing_forward() as forward:
        try:
            with memory_explained(*VALIDATION):
                evaluate(forward, loader, accumulator, config.test.batch_size)
        except NotFinite as error:
            raise Diverged(step, "validation", str(error)) from error
    results = accumulator.predictions(config.test.average).results()
    logger.info("step %d: validation top-1 %.2f %% (one view each)", step, results["top1"])
    if results["num_unreadable"]:
        logger.warning("validation: %d videos cannot be read and count as wrong", results["num_unreadable"])
    return results
