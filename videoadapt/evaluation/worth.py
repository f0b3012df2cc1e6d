"""What the probabilities of a test are worth, as its results.json has it, with the temperature of the validation too."""

from typing import Any

import numpy as np

from videoadapt import distributed, logger
from videoadapt.data.folds import group_names
from videoadapt.data.shared_classes import OtherList
from videoadapt.errors import counted
from videoadapt.evaluation.confidence import Confidence, confidence, fit_temperature, log_probabilities, tempered
from videoadapt.evaluation.predictions import ListPredictions, Predictions


def worth(predictions: ListPredictions, temperature: float | None) -> dict[str, Any]:
    """`confidence` of the readable videos as they are and, with a temperature, after it; {} of several labels a video."""
    if not isinstance(predictions, Predictions):
        return {}
    log_probs_MK, labels_M = _readable(predictions)
    after = None if temperature is None else confidence(tempered(log_probs_MK, temperature), labels_M)
    return {"confidence": {"before": _as_record(confidence(log_probs_MK, labels_M)), "after": _as_record(after)}}


def fitted_temperature(predictions: ListPredictions) -> dict[str, Any]:
    """`temperature` of the validation list, None where there is none, with the likelihoods and of how many videos it is."""
    log_probs_MK, labels_M = _readable(predictions)
    found = fit_temperature(log_probs_MK, labels_M)
    if found is None and distributed.is_main():
        logger.warning(
            "test.calibrate: data.val gives no temperature from 0.01 to 100: all of its %d readable videos are right, or equal "
            "probabilities are better than the model's; probabilities stay as they are", len(labels_M),
        )  # fmt: skip
    before, after = confidence(log_probs_MK, labels_M), None
    if found is not None:
        after = confidence(tempered(log_probs_MK, found), labels_M)
        if distributed.is_main():
            logger.info(
                "test.calibrate: temperature %.3f, fitted on %s of data.val; what it does to each test list: results.json",
                found, counted(len(labels_M), "video"),
            )  # fmt: skip
    return {
        "temperature": found,
        "num_videos": len(labels_M),
        "average": predictions.average,
        "num_views": predictions.logits_NVK.shape[1],
        "before": _as_record(before),
        "after": _as_record(after),
    }


def of_list(predictions: ListPredictions, asked: OtherList) -> dict[str, Any]:
    """What a list has besides the measures: its groups, and how good the model is where it may say shared classes only."""
    found: dict[str, Any] = {}
    if asked.shared is not None and isinstance(predictions, Predictions):
        among = predictions.scores_NK[:, asked.shared]
        own_N1 = np.take_along_axis(predictions.scores_NK, predictions.labels[:, None], axis=1)
        right_N = ((among >= own_N1).sum(axis=1) == 1) & predictions.readable_N
        found |= {
            "top1_among_shared": round(100 * float(right_N.mean()), 4),
            "num_shared_classes": len(asked.shared),
            "classes_left_out": asked.classes_left_out,
            "num_left_out": asked.num_left_out,
        }
    if asked.group is not None:
        groups_N = np.array(group_names([video.id for video in predictions.videos], asked.group, "group"))
        found["groups"] = {
            str(name): {"num_videos": int((groups_N == name).sum()), **predictions.measures(groups_N == name)}
            for name in np.unique(groups_N)
        }
    return found


def _readable(predictions: ListPredictions) -> tuple[np.ndarray, np.ndarray]:
    read_N = predictions.readable_N
    return log_probabilities(predictions.logits_NVK[read_N], predictions.average), predictions.labels[read_N]


def _as_record(found: Confidence | None) -> dict[str, float] | None:
    return None if found is None else {name: round(value, 4) for name, value in found._asdict().items()}
