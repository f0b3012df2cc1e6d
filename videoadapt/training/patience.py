"""When a training stops early: a validation that no longer gets better."""

from collections.abc import Mapping
from typing import Any

from videoadapt.config.schema import StopEarly
from videoadapt.errors import counted


class Patience:
    """Remembers the best validation, and says when it lies `patience_epochs` back; without a config it has no end.

    It is a function of the validations alone, which are the same on all ranks. The first of equal values is the best.
    """

    def __init__(self, config: StopEarly | None, steps_per_epoch: int):
        self._config, self._steps_per_epoch = config, steps_per_epoch
        self._best: float | None = None
        self._best_step = self._last_step = 0

    def note(self, step: int, results: Mapping[str, Any]) -> None:
        """Take the results of the validation after `step` updates; a loss that is None is no better than any."""
        if self._config is None:
            return
        self._last_step, value = step, results[self._config.metric]
        sign = -1 if self._config.metric == "loss" else 1
        if value is not None and (self._best is None or sign * value > sign * self._best):
            self._best, self._best_step = value, step

    @property
    def is_out(self) -> bool:
        """Whether training is to stop where the last validation was."""
        if self._config is None:
            return False
        return self._last_step - self._best_step >= self._config.patience_epochs * self._steps_per_epoch

    def __str__(self) -> str:
        """Why it stops, in a few words."""
        assert self._config is not None
        patience = counted(self._config.patience_epochs, "epoch")
        return (
            f"the validation's {self._config.metric} has been no better for {patience} than {self._best} at step "
            f"{self._best_step}"
        )

    def state(self) -> dict[str, Any]:
        """Plain values, which `restore` takes."""
        metric = None if self._config is None else self._config.metric
        return {"metric": metric, "best": self._best, "best_step": self._best_step, "last_step": self._last_step}

    def restore(self, state: Mapping[str, Any] | None, step: int) -> None:
        """Go on from the `state` of a checkpoint of `step`; what is of another metric, or is not there, begins anew here."""
        if state is None or self._config is None or state["metric"] != self._config.metric:
            self._best_step = self._last_step = step
            return
        self._best, self._best_step, self._last_step = state["best"], state["best_step"], state["last_step"]
