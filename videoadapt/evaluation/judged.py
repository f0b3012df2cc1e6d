"""The checkpoint that a run is judged by, in its model, and what a result says of where its numbers come from."""

from dataclasses import dataclass
from typing import Any

from videoadapt import logger
from videoadapt.config.schema import Config, Holdout
from videoadapt.data.splits import Splits
from videoadapt.errors import ConfigError
from videoadapt.models.classifier import Classifier
from videoadapt.runs.checkpoint import load_checkpoint
from videoadapt.runs.checks import nothing_to_test
from videoadapt.runs.folder import find_checkpoint, load_result
from videoadapt.runs.named_weights import published
from videoadapt.runs.run import Run
from videoadapt.runs.statement import Difference, said, value_of


@dataclass(frozen=True)
class Judged:
    """What the run's model holds: `source` is a checkpoint below its folder, or the weights whose head is tested.

    `step`: of how many updates it is; `thresholds`: of each class, where a validation chose them; `differing`: what is
    tested on purpose otherwise than it was trained; `trained_on`: the fingerprint of its training list, where it says that.
    """

    source: str
    step: int | None = None
    thresholds: list[float] | None = None
    differing: tuple[Difference, ...] = ()
    trained_on: str | None = None

    def as_dict(self, run: Run) -> dict[str, Any]:
        """The keys of results.json and robustness.json that say what was tested."""
        return {
            "checkpoint": self.source,
            "checkpoint_step": self.step,
            "statement": run.statement.as_dict(),
            "weights": published(run.config),
            "other_than_trained": {key: {"trained": old, "tested": new} for key, old, new in self.differing},
        }


def load_judged(run: Run) -> Judged:
    """Load the run's best (else newest) checkpoint into its model; without one, the head in `model.weights` is there already.

    Raises CheckpointError when the checkpoint states another function than the run's, ConfigError without either.
    """
    path = find_checkpoint(run.folder)
    if path is None:
        assert isinstance(run.model, Classifier)
        if problem := nothing_to_test(run.config, run.model, len(run.splits.class_names)):
            raise ConfigError(problem)
        return Judged(str(run.config.model.weights))
    state = load_checkpoint(path)
    differing = load_result(run.model, path, run.statement, state)
    if differing:
        logger.info("tested with other values than it was trained with: %s", said(differing))
    source, trained_on = str(path.relative_to(run.folder)), value_of(state, "config.lists.train")
    return Judged(source, state.get("step"), state.get("thresholds"), tuple(differing), trained_on)


def may_have_trained_on_val(config: Config, splits: Splits, trained_on: str | None) -> bool:
    """Whether the validation list is that of the training, or was held out of a list that was trained on otherwise.

    `trained_on`: the fingerprint of the list that was; None: not known, and nothing is said.
    """
    if trained_on is None:
        return False
    if isinstance(config.data.val, Holdout):
        return trained_on != splits.fingerprint(splits.train)
    return trained_on == splits.fingerprint(splits.val)
