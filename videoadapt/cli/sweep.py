"""Train and compare a table of configs; the same command again resumes it, and runs no finished cell twice."""

import argparse
import sys
from pathlib import Path
from typing import Any

from videoadapt.cli._command import EXIT_ERROR, command, program
from videoadapt.cli._overrides import add_overrides, parse_with_overrides
from videoadapt.errors import counted


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("sweep"),
        allow_abbrev=False,
        description=__doc__,
        epilog="Exit codes: 0 done, 2 an error that you can fix or cells that failed, 130 stopped by a signal.",
    )
    parser.add_argument(
        "--cfg", required=True, metavar="SWEEP", help="a yaml file, or the name of a shipped one: sweeps/methods"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="cells at a time, spread over the GPUs (1)")
    parser.add_argument("--list", action="store_true", help="only print the cells that are missing")
    parser.add_argument("--slurm", nargs=argparse.REMAINDER, metavar="OPTION",
                        help="submit what is missing as one job array; options of the command submit follow")  # fmt: skip
    add_overrides(parser, "keys of the sweep, or of the config of all its cells")
    return parse_with_overrides(parser, arguments, rest="--slurm")


@command(stopped="stopped at once; run the same command again to resume")
def main(arguments: list[str] | None = None) -> int:
    """Run the sweep and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.log import setup_logging
    from videoadapt.sweeps.plan import Sweep

    setup_logging()
    sweep = Sweep(Path(args.cfg), args.overrides)
    if args.list:
        for cell in sweep.missing():
            print(cell.name)
        return 0
    if args.slurm is not None:
        return submit(sweep, args.slurm)
    from videoadapt.cli import train
    from videoadapt.sweeps.runner import run_sweep
    from videoadapt.sweeps.table import write_tables

    try:
        failed = run_sweep(sweep, train.main, args.workers)
    finally:
        written = write_tables(sweep)
    if written:
        print(written[0].read_text(encoding="utf-8"), end="")
        print(f"files: {', '.join(map(str, written))}")
    for name, reason in failed.items():
        sys.stderr.write(f"error: {name}: {reason}\n")
    return EXIT_ERROR if failed else 0


def submit(sweep: Any, options: list[str]) -> int:
    """Submit what is missing, and show what is there."""
    from videoadapt.slurm.options import resource_options, resources_from

    parser = argparse.ArgumentParser(
        prog=f"{program('sweep')} ... --slurm", allow_abbrev=False, parents=[resource_options()]
    )
    resources = resources_from(parser.parse_args(options), sweep.folder.name)
    from videoadapt.slurm.submission import wait
    from videoadapt.sweeps.jobs import submit_sweep
    from videoadapt.sweeps.table import write_tables

    sent, waiting = submit_sweep(sweep, resources)
    for cell, job in sent:
        print(f"job {job.job_id}: {cell.name}, logs in {job.paths.folder}")
    if sent and resources.executor != "slurm":
        return wait([job for _, job in sent])
    for path in write_tables(sweep):
        print(f"so far: {path}")
    more = len(sent) + len(waiting)
    if more:
        print(
            f"{counted(more, 'cell waits or runs', 'cells wait or run')}; the same command submits what is missing "
            "when they have ended"
        )
    return 0
