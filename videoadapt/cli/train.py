"""Train a config and test it, or pre-train: from the start, or from where the same command was stopped."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from videoadapt.cli._command import EXIT_UNREADABLE, command, program, words_for
from videoadapt.cli._output import check_own_folder
from videoadapt.cli._overrides import add_overrides, parse_with_overrides
from videoadapt.errors import counted

MEASURES = {
    "top1": "top-1", "top5": "top-5", "mean_class": "mean class",
    "mAP": "mAP", "micro_f1": "micro F1", "macro_f1": "macro F1",
}  # fmt: skip
STOPPED = "stopped at once; run the same command again to resume from the last checkpoint"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return parse_with_overrides(parser("train", __doc__, "`train.enable false` only tests."), arguments)


def parser(name: str, description: str | None, hint: str) -> argparse.ArgumentParser:
    """What `train` and `test` take."""
    made = argparse.ArgumentParser(
        prog=program(name),
        allow_abbrev=False,
        description=description,
        epilog=f"{hint} Exit codes: 0 done, 2 an error that you can fix, 3 unreadable test videos, 130 stopped by a signal.",
    )
    made.add_argument(
        "--cfg", required=True, metavar="CONFIG", help="a yaml file, or the name of a shipped one: quickstart"
    )
    add_overrides(made, "values to change, e.g. optim.lr_per_256 0.05")
    return made


@command(STOPPED)
def main(arguments: list[str] | None = None) -> int:
    """Run and return the exit code."""
    args = parse_arguments(arguments)
    return run(args.cfg, args.overrides)


def run(cfg: str, overrides: Sequence[str]) -> int:
    """Run a config and say how it went; return the exit code."""
    from videoadapt.config.loading import load_config
    from videoadapt.errors import TooManyUnreadable

    config = load_config(cfg, overrides)
    check_own_folder(cfg, overrides, config.output)
    from videoadapt import distributed
    from videoadapt.processes.signals import ended_by_signal
    from videoadapt.training.execution import execute

    problem = ""
    with ended_by_signal(), distributed.process_group():
        try:
            run, results = execute(config)
        except TooManyUnreadable as error:
            problem, results = str(error), error.results
        if results is None or not distributed.is_main():
            return 0
    print(_scores(results))
    print(f"files: {config.output}")
    if problem:
        sys.stderr.write(f"error: {problem}\n")
        return EXIT_UNREADABLE
    first = run.splits.test[0]
    print("next: ", shlex.join([*words_for("demo"), f"{first.path}{first.part or ''}", "--run", str(run.folder)]))
    return 0


def _scores(results: Mapping[str, Any]) -> str:
    from videoadapt.evaluation.predictions import shown_measures

    telling = shown_measures(results)
    found = {name: results[key] for key, name in MEASURES.items() if key in telling}
    shown = [f"{name} {'none' if score is None else f'{score:.2f} %'}" for name, score in found.items()]
    what = f"{counted(results['num_videos'], 'video')} x {counted(results['num_views'], 'view')}"
    return f"{'  '.join(shown)}  ({what}; {results['checkpoint']})"
