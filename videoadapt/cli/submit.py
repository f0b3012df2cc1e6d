"""Put a run on Slurm, or look after it: `status`, `tail` or `cancel`, and the folder of the run, in place of options."""

import argparse
import shlex
import sys

from videoadapt.cli._command import command, program
from videoadapt.cli._output import check_own_folder
from videoadapt.cli._overrides import add_overrides, parse_with_overrides
from videoadapt.cli._paths import place

COMMANDS = ("status", "tail", "cancel")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in COMMANDS:
        return _parse_command(arguments)
    from videoadapt.slurm.options import resource_options

    parser = argparse.ArgumentParser(
        prog=program("submit"),
        allow_abbrev=False,
        description=__doc__,
        epilog="Everything is checked before anything is queued; exit code 2 for what you can fix. See docs/cluster.md.",
        parents=[resource_options()],
    )
    parser.add_argument(
        "--cfg", required=True, action="append", metavar="CONFIG", help="as for train; several make a job array"
    )
    add_overrides(parser, "values to change, as for train")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the script; submit nothing")
    return parse_with_overrides(parser, arguments)


def _parse_command(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=program("submit"), description="Look after the jobs of a run.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("run", type=place, metavar="RUN", help="the run's folder, e.g. outputs/ssv2_adapt")
    parser.add_argument("--lines", type=int, default=10, help="tail: lines of each rank's log")
    return parser.parse_args(arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Submit or look after a run; return the exit code."""
    args = parse_arguments(arguments)
    return _look_after(args) if hasattr(args, "command") else _submit(args)


def _look_after(args: argparse.Namespace) -> int:
    from videoadapt.slurm import status as job_status

    if args.command == "status":
        print("\n".join(job_status.status_lines(args.run)))
    elif args.command == "tail":
        print("\n".join(job_status.tail(args.run, args.lines)))
    else:
        ended = job_status.cancel(args.run)
        print(f"cancelled: {', '.join(ended)}" if ended else "none of its jobs waits or runs")
    return 0


def _submit(args: argparse.Namespace) -> int:
    from videoadapt.config.loading import load_config
    from videoadapt.slurm.options import resources_from

    configs = [load_config(path, args.overrides) for path in args.cfg]
    for path, config in zip(args.cfg, configs, strict=True):
        check_own_folder(path, args.overrides, config.output)
    resources = resources_from(args, configs[0].output.name)
    from videoadapt.slurm import submission

    if args.dry_run:
        print(submission.script(configs, resources))
        return 0
    jobs = submission.submit_runs(configs, resources)
    for config, job in zip(configs, jobs, strict=True):
        print(f"job {job.job_id}: {config.output}, logs in {job.paths.folder}", flush=True)
    if args.executor == "slurm":
        print(f"look after it: {program('submit')} status|tail|cancel {shlex.quote(str(configs[0].output))}")
        return 0
    return submission.wait(jobs)
