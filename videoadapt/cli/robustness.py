"""Test a run on corrupted videos: noise, blur, weather, compression, lost packets and frames, at five strengths each."""

import argparse
from typing import Any

from videoadapt.cli._answers import say_unreadable
from videoadapt.cli._command import EXIT_UNREADABLE, command, program
from videoadapt.cli._options import add_run
from videoadapt.cli._overrides import add_overrides, parse_with_overrides


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("robustness"),
        allow_abbrev=False,
        description=__doc__,
        epilog="Writes robustness.json and robustness.png into the run's folder, and its report.html anew. All kinds: "
        "docs/robustness.md.",
    )
    add_run(parser)
    parser.add_argument(
        "--corruptions", type=_names, default="all", metavar="NAMES", help="all, or names: gaussian_noise,fog,h264"
    )
    parser.add_argument(
        "--strengths", type=_strengths, default=(1, 2, 3, 4, 5), metavar="NUMBERS", help="of 1 to 5: 1,3,5"
    )
    add_overrides(parser, "values to change, e.g. test.clips 1 data.root /videos")
    return parse_with_overrides(parser, arguments)


def _names(text: str) -> str | list[str]:
    return text if text == "all" else [name.strip() for name in text.split(",") if name.strip()]


def _strengths(text: str) -> tuple[int, ...]:
    found = sorted({int(number) for number in text.split(",") if number.strip() in ("1", "2", "3", "4", "5")})
    if not found or len(found) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r}: allowed: numbers from 1 to 5, each once, with commas between them")
    return tuple(found)


@command(stopped="stopped; nothing is kept of it")
def main(arguments: list[str] | None = None) -> int:
    """Test and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.errors import ConfigError
    from videoadapt.runs.folder import run_config
    from videoadapt.video.corruptions import KINDS, chosen_kinds

    try:
        kinds = chosen_kinds(args.corruptions)
    except ConfigError as error:
        raise ConfigError(f"--corruptions {error}") from error
    least = min(args.strengths)
    if args.corruptions != "all" and (ungraded := [kind for kind in kinds if len(KINDS[kind].levels) < least]):
        raise ConfigError(
            f"--strengths {','.join(map(str, args.strengths))}: {ungraded[0]} allows 1, as it has no grades; add 1, or leave "
            f"{ungraded[0]} out"
        )
    config = run_config(args.run, [*args.overrides, f"output={args.run}", "train.enable=false"])
    from videoadapt import distributed
    from videoadapt.evaluation.report.page import write_report
    from videoadapt.processes.signals import ended_by_signal
    from videoadapt.runs.run import prepare
    from videoadapt.training.execution import execute_robustness

    with ended_by_signal(), distributed.process_group():
        with prepare(config) as run:
            results = execute_robustness(run, kinds, args.strengths)
        if not distributed.is_main():
            return 0
        print("\n".join(_lines(results)))
        print(f"files: {args.run}/robustness.json, {args.run}/robustness.png, {write_report(args.run, config)}")
    unreadable, videos = results["clean"]["num_unreadable"], results["num_videos"]
    say_unreadable(unreadable, videos)
    return EXIT_UNREADABLE if unreadable > config.test.max_unreadable * videos else 0


def _lines(results: dict[str, Any]) -> list[str]:
    """Scores in percent, a kind a line; below the mean, those that may change the label."""
    of_kinds = {**results["corruptions"], **results["sensitivity"]}
    strengths = sorted({strength for of in of_kinds.values() for strength in of["strengths"]}, key=int)
    blank = [""] * len(strengths)
    rows = [["as it is", *blank, _percent(results["clean"]["score"]), ""]]
    rows += [_row(kind, of, strengths) for kind, of in results["corruptions"].items()]
    mean = results["mean"]
    if results["corruptions"]:
        rows.append(["mean of these", *blank, _percent(mean["score"]), _percent(mean["relative_drop"])])
    rows += [_row(kind, of, strengths) for kind, of in results["sensitivity"].items()]
    heads = [f"{results['measure']}, %", *(f"strength {strength}" for strength in strengths), "mean", "relative drop"]
    widths = [max(len(row[0]) for row in [heads, *rows]), *map(len, heads[1:])]
    return ["  ".join(_aligned(row, widths)).rstrip() for row in [heads, *rows]]


def _aligned(row: list[str], widths: list[int]) -> list[str]:
    first, *others = row
    return [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]


def _row(kind: str, of: dict[str, Any], strengths: list[str]) -> list[str]:
    scores = (of["strengths"].get(strength, {"score": None})["score"] for strength in strengths)
    return [kind, *map(_percent, scores), _percent(of["mean"]), _percent(of["relative_drop"])]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
