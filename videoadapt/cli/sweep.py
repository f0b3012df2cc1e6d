"""Run a table of runs: `python tools/sweep.py --cfg configs/sweeps/methods.yaml [--workers N] [key value | key=value ...]`."""

import argparse
import sys
from pathlib import Path
from typing import Any

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        epilog="Run the same command again to go on where it stopped: finished cells are not run again. "
        "Exit codes: 0 done, 2 an error you can mend or cells that failed, 130 stopped by a signal.",
    )
    parser.add_argument("--cfg", required=True, metavar="YAML", help="the sweep, see configs/sweeps/")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="cells at a time, spread over the GPUs (1)")
    parser.add_argument("--list", action="store_true", help="only print the cells that are missing")
    parser.add_argument("--slurm", nargs=argparse.REMAINDER, metavar="OPTION",
                        help="submit what is missing as one job array; options of tools/submit.py follow")  # fmt: skip
    parser.add_argument(
        "overrides", nargs="*", metavar="key value", help="keys of the sweep, or of the config of all its cells"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the sweep and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.errors import Interrupted, VideoAdaptError
    from videoadapt.log import setup_logging
    from videoadapt.sweeps.plan import Sweep

    setup_logging()
    try:
        sweep = Sweep(Path(args.cfg), args.overrides)
        if args.list:
            sys.stdout.write("".join(f"{cell.name}\n" for cell in sweep.missing()))
            return 0
        if args.slurm is not None:
            return submit(sweep, args.slurm)
        from videoadapt.sweeps.runner import run_sweep
        from videoadapt.sweeps.table import write_tables

        try:
            failed = run_sweep(sweep, Path(__file__).with_name("run_net.py"), args.workers)
        finally:
            written = write_tables(sweep)
    except Interrupted as stop:
        sys.stderr.write(f"{stop}\n")
        return EXIT_INTERRUPTED
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("stopped at once; run the same command again to go on\n")
        return EXIT_INTERRUPTED
    if written:
        sys.stdout.write(written[0].read_text(encoding="utf-8"))
        sys.stdout.write(f"files: {', '.join(map(str, written))}\n")
    if not failed:
        return 0
    sys.stderr.write("".join(f"error: {name}: {reason}\n" for name, reason in failed.items()))
    return EXIT_ERROR


def submit(sweep: Any, options: list[str]) -> int:
    """Submit what is missing, and show what is there."""
    from videoadapt.slurm.resources import resource_options, resources_from
    from videoadapt.slurm.submission import wait
    from videoadapt.sweeps.jobs import submit_sweep
    from videoadapt.sweeps.table import write_tables

    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="tools/sweep.py ... --slurm", parents=[resource_options()]
    )
    resources = resources_from(parser.parse_args(options), sweep.folder.name)
    sent, waiting = submit_sweep(sweep, resources)
    for cell, job in sent:
        sys.stdout.write(f"job {job.job_id}: {cell.name}, logs in {job.paths.folder}\n")
    if sent and resources.executor != "slurm":
        return wait([job for _, job in sent])
    for path in write_tables(sweep):
        sys.stdout.write(f"so far: {path}\n")
    more = len(sent) + len(waiting)
    if more:
        sys.stdout.write(f"{more} cells wait or run; the same command submits what is missing when they have ended\n")
    return 0
