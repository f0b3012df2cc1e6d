"""Put runs side by side that were tested on the same videos: scores, paired tests against the first, which videos changed."""

import argparse
from pathlib import Path

from videoadapt.cli._command import command, program
from videoadapt.cli._output import check_file, check_not_read
from videoadapt.cli._paths import place


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=program("compare"), allow_abbrev=False, description=__doc__)
    parser.add_argument("runs", type=place, nargs="+", metavar="RUN", help="run folders; the others against the first")
    parser.add_argument(
        "--out", type=place, metavar="FILE", default=Path("compare.html"), help="page to write (compare.html)"
    )
    return parser.parse_args(arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Print the tables, write the page and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.evaluation.report.side_by_side import lines, write_comparison
    from videoadapt.log import setup_logging

    setup_logging()
    check_file("--out", args.out)
    read = ("config.yaml", "classes.txt", "results.json", "predictions.npz")
    check_not_read("--out", args.out, [run / name for run in args.runs for name in read])
    found = write_comparison({str(run): run for run in args.runs}, args.out)
    print("\n".join(lines(found)))
    print(f"\nfiles: {args.out}")
    return 0
