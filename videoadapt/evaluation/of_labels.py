"""What follows from how many labels a video has (`data.labels`): the loss, what a list is judged by, what is best."""

from typing import Literal, NamedTuple

from videoadapt.data.label_sets import Kind
from videoadapt.evaluation.multi_label import MultiPredictions
from videoadapt.evaluation.predictions import ListPredictions, Predictions


class OfLabels(NamedTuple):
    """The default of `train.loss`, the predictions on a list, and which of their measures chooses the best checkpoint.

    What makes probabilities of logits is `predictions.probabilities`.
    """

    loss: str
    predictions: type[ListPredictions]
    best_by: Literal["top1", "mAP"]


OF_LABELS: dict[Kind, OfLabels] = {
    "single": OfLabels("cross_entropy", Predictions, "top1"),
    "multi": OfLabels("bce", MultiPredictions, "mAP"),
}
