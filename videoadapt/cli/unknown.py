"""Measure how well a run tells videos of unknown actions from known ones, and keep what `demo --reject` needs."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from videoadapt.cli._command import EXIT_UNREADABLE, command, program
from videoadapt.cli._options import add_device, add_run
from videoadapt.cli._output import check_file
from videoadapt.cli._overrides import add_overrides, parse_with_overrides
from videoadapt.cli._paths import place
from videoadapt.errors import counted

if TYPE_CHECKING:
    from videoadapt.inference.unknown_actions import Found


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("unknown"),
        allow_abbrev=False,
        description=__doc__,
        epilog="Written into the run's folder: unknown.npz for `demo --reject`, unknown.json and unknown.png with the numbers. "
        "Scores: msp, the greatest probability; energy of the logits; mahalanobis and knn of the training list's features.",
    )
    add_run(parser)
    parser.add_argument(
        "--known",
        type=place,
        metavar="LIST",
        help="videos of the run's classes that it was not trained on; default: data.val",
    )
    parser.add_argument(
        "--unknown", type=place, metavar="LIST", help="videos of other actions, to see how well scores tell"
    )
    parser.add_argument(
        "--root", type=place, metavar="FOLDER", help="where their paths start; default: the run's data.root"
    )
    parser.add_argument(
        "--score",
        choices=("msp", "energy", "mahalanobis", "knn"),
        default="energy",
        help="the one that demo uses (energy)",
    )
    parser.add_argument("--k", type=int, default=10, help="of knn: which neighbour (10)")
    parser.add_argument(
        "--no-training", action="store_true", help="do not look at the training list: without mahalanobis and knn"
    )
    add_device(parser)
    add_overrides(parser, "where films are now, e.g. data.root /videos")
    args = parse_with_overrides(parser, arguments)
    if args.no_training and args.score in ("mahalanobis", "knn"):
        parser.error(f"--score {args.score}: needs the training list, so it does not go with --no-training")
    return args


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Measure and return the exit code: 2 for an error, 3 when some videos cannot be read (they are left out)."""
    args = parse_arguments(arguments)
    from videoadapt.distributed import choose_device
    from videoadapt.inference.predictor import Predictor
    from videoadapt.inference.unknown_actions import Asked, measure
    from videoadapt.log import setup_logging

    setup_logging()
    for name in ("unknown.npz", "unknown.json", "unknown.png"):
        check_file("RUN", Path(args.run) / name)
    predictor = Predictor.from_run(args.run, choose_device(args.device))
    asked = Asked(args.known, args.unknown, args.root, args.score, args.k, not args.no_training, args.overrides)
    found = measure(predictor, Path(args.run), asked)
    for item in found.unreadable:
        sys.stderr.write(f"left out, cannot be read: {item.video.id}: {item.reason}\n")
    print("\n".join(lines(found)))
    print(f"files: {args.run}/unknown.npz, unknown.json, unknown.png")
    print(f"next:  {program('demo')} VIDEO --run {shlex.quote(str(args.run))} --reject {found.least_rate:.2g}")
    return EXIT_UNREADABLE if found.unreadable else 0


def lines(found: "Found") -> list[str]:
    """A table: of each score how well it tells; without unknown videos, the threshold alone."""
    rows = [f"{'score':12} {'AUROC':>8} {'FPR95':>8} {'threshold at 5 %':>18}"]
    for name, of in found.numbers.items():
        told = [f"{100 * (of[key] or 0):6.2f} %" if key in of else "" for key in ("auroc", "fpr95")]
        at = "" if of["threshold_5"] is None else f"{of['threshold_5']:.4g}"
        rows.append(f"{name:12} {told[0]:>8} {told[1]:>8} {at:>18}")
    return [*rows, f"{counted(found.num_known, 'known video')}, {found.num_unknown} unknown ones"]
