"""Weights & Biases: offline, in files of the run's folder that `wandb sync` uploads, unless a config says online."""

import os
import uuid
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from videoadapt.registry import LOGGERS
from videoadapt.runs.loggers._base import Beginning, Logger, Record
from videoadapt.runs.outcome import Outcome, OutcomeRecord

Mode: TypeAlias = Literal["disabled", "offline", "online"]


@LOGGERS.register
class WandB(Logger):
    """The charts' x axis is `step`, updates done. `mode` null is offline, or what WANDB_MODE says, which may also narrow it."""

    package = "wandb"

    def __init__(self, *, project: str = "videoadapt", entity: str | None = None, mode: Mode | None = None):
        self._project, self._entity, self._mode = project, entity, mode
        self._run: Any = None
        self._teardown: Any = None

    def begin(self, run: Beginning) -> str:
        """A resumed run keeps its id; offline, each beginning leaves a folder, which `wandb sync` puts together by the id."""
        mode = _narrowest(self._mode, os.environ.get("WANDB_MODE"))
        if mode != "online":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # reports of its own errors would go out in any mode
        import wandb

        self._teardown = wandb.teardown
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_save_requirements=False
        )  # fmt: skip
        name = run.known or uuid.uuid4().hex[:8]
        self._run = wandb.init(
            project=self._project, entity=self._entity, mode=mode, id=name, resume="allow", name=run.folder.name,
            dir=run.folder / "loggers", config=run.config, allow_val_change=True, settings=quiet,
        )  # fmt: skip
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        return name

    def add(self, records: Sequence[Record]) -> None:
        """One entry of its history a record."""
        for kind, step, values in records:
            self._run.log({**{f"{kind}/{key}": value for key, value in values.items()}, "step": step})

    def end(self, outcome: OutcomeRecord | None) -> None:
        """Its run counts as failed unless it finished; the summary says how it ended."""
        if outcome is not None:
            self._run.summary["outcome"] = outcome.outcome.value
            if outcome.message is not None:
                self._run.summary["message"] = outcome.message
        exit_code = 0 if outcome is not None and outcome.outcome == Outcome.FINISHED else 1
        self._run.finish(exit_code=exit_code)
        self._teardown(exit_code)  # its server is gone when this process is


def _narrowest(key: Mode | None, variable: str | None) -> Mode:
    """Of what the config and the environment say, what reaches the network less; nothing said is offline."""
    said = {key, {"dryrun": "offline", "shared": "online"}.get(variable or "", variable)}
    known: tuple[Mode, ...] = ("disabled", "offline", "online")
    return next((mode for mode in known if mode in said), "offline")
