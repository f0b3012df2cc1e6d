"""A whole run, as every front door and every job does it: train, leave what was trained, test."""

from typing import Any

from videoadapt.config import Config
from videoadapt.pretraining import leave_trunk
from videoadapt.run import Run, leave_adapter, prepare
from videoadapt.testing import test
from videoadapt.training import train


def execute(config: Config) -> tuple[Run, dict[str, Any] | None]:
    """Train and test as the config says, in the process group that is there; return the run and results.json's content."""
    with prepare(config) as run:
        if config.train.enable:
            train(run)
            (leave_trunk if config.task == "pretrain" else leave_adapter)(run)
        return run, test(run) if config.test.enable else None


def too_many_unreadable(run: Run, results: dict[str, Any]) -> str:
    """Say that more test videos cannot be read than `test.max_unreadable` allows; "" when they are not."""
    if results["num_unreadable"] <= run.config.test.max_unreadable * results["num_videos"]:
        return ""
    return (
        f"{results['num_unreadable']} of the {results['num_videos']} videos of data.test cannot be read and count as "
        f"wrong; {run.folder}/results.json lists them: mend them and test again, or raise test.max_unreadable"
    )
