"""A whole run, as every front door and every job does it: train, leave what was trained, test, leave a report."""

from collections.abc import Sequence
from typing import Any

from videoadapt import distributed, logger
from videoadapt.config.schema import Config
from videoadapt.errors import Diverged, TooManyUnreadable, VideoAdaptError, counted
from videoadapt.evaluation.robustness import STRENGTHS, scores_by_kind, test_robustness
from videoadapt.evaluation.testing import test
from videoadapt.runs.adapter_file import leave_adapter
from videoadapt.runs.memory import TESTING, TRAINING, memory_explained
from videoadapt.runs.phases import phase
from videoadapt.runs.run import Run, prepare
from videoadapt.training.loop import train
from videoadapt.training.reconstruction import leave_backbone
from videoadapt.video.corruptions import chosen_kinds


def execute(config: Config) -> tuple[Run, dict[str, Any] | None]:
    """Train and test as the config says, in the process group that is there; return the run and results.json's content.

    Raises TooManyUnreadable, after everything is written, when more test videos are than `test.max_unreadable` allows.
    """
    try:
        done = _execute(config)
    except (TooManyUnreadable, Diverged):
        _leave_report(config)
        raise
    _leave_report(done[0].config)
    return done


def _execute(config: Config) -> tuple[Run, dict[str, Any] | None]:
    with prepare(config) as run:
        if config.train.enable:
            with memory_explained(*TRAINING), phase(run, "training"):
                train(run)
            (leave_backbone if config.task == "pretrain" else leave_adapter)(run)
        if not config.test.enable:
            return run, None
        with memory_explained(*TESTING), phase(run, "test"):
            results = test(run)
        if run.loggers is not None:
            run.loggers.tested("test", results)
        if kinds := chosen_kinds(config.test.corruptions):
            execute_robustness(run, kinds)
        _check_readable(run, results)
        return run, results


def execute_robustness(run: Run, kinds: Sequence[str], strengths: Sequence[int] = STRENGTHS) -> dict[str, Any]:
    """Test on corrupted videos, as a part of a run or by itself, and put it on record; return robustness.json's content."""
    with memory_explained(*TESTING), phase(run, "robustness"):
        results = test_robustness(run, kinds, strengths)
    if run.loggers is not None:
        run.loggers.tested("robustness", scores_by_kind(results))
    return results


def _check_readable(run: Run, results: dict[str, Any]) -> None:
    own = next(iter(run.config.data.test)) if isinstance(run.config.data.test, dict) else None
    for name, of in {own: results, **results.get("lists", {})}.items():
        if of["num_unreadable"] <= run.config.test.max_unreadable * of["num_videos"]:
            continue
        where = "data.test" if name is None else f"data.test.{name}"
        raise TooManyUnreadable(
            f"{of['num_unreadable']} of the {counted(of['num_videos'], 'video')} of {where} cannot be read and count as "
            f"wrong; {run.folder}/results.json lists them: fix them and test again, or raise test.max_unreadable",
            results,
        )


def _leave_report(config: Config) -> None:
    """After the end, which outcome.json then says; a full disk, or a damaged file of the run, costs the report only."""
    if not distributed.is_main():
        return
    from videoadapt.evaluation.report.page import write_report  # matplotlib is slow to import

    try:
        write_report(config.output, config)
    except (OSError, VideoAdaptError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        logger.warning("%s: cannot be written: %s", config.output / "report.html", why)
