"""Put a run on Slurm: `python tools/submit.py --cfg configs/ssv2_adapt.yaml --nodes 8 --gpus-per-node 8 [key value ...]`.

`python tools/submit.py status|tail|cancel RUN` looks after it, where RUN is the run's folder.
"""

import argparse
import sys
from pathlib import Path

COMMANDS = ("status", "tail", "cancel")
SBATCH_OPTIONS = ("partition", "account", "qos", "constraint", "exclude", "comment")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in COMMANDS:
        return _parse_command(arguments)
    from videoadapt.slurm import Resources, parse_minutes

    def minutes(text: str) -> int:
        try:
            return parse_minutes(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Everything is checked before anything is queued; exit code 2 for what you can mend. See docs/cluster.md.",
    )
    default = Resources()
    parser.add_argument(
        "--cfg", required=True, action="append", metavar="YAML", help="config; several make a job array"
    )
    parser.add_argument("overrides", nargs="*", metavar="key value", help="values to change, as for tools/run_net.py")
    parser.add_argument(
        "--executor", choices=("slurm", "local", "debug"), default="slurm", help="local, debug: no Slurm"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the script; submit nothing")
    parser.add_argument("--nodes", type=int, default=default.nodes)
    parser.add_argument(
        "--gpus-per-node", type=int, default=default.gpus_per_node, help="one task for each; 0: CPU tasks"
    )
    parser.add_argument("--tasks-per-node", type=int, default=default.tasks_per_node, help="CPU tasks, without GPUs")
    parser.add_argument("--time", type=minutes, default=default.minutes, help="limit of one attempt, as for sbatch")
    parser.add_argument("--cpus-per-task", type=int, help="default: 1 + data.workers")
    parser.add_argument("--mem", type=float, metavar="GB", help="memory of each node")
    parser.add_argument("--signal-delay", type=int, default=default.signal_delay_sec, metavar="SEC",
                        help="how long before the time limit the job stops and saves")  # fmt: skip
    parser.add_argument("--max-timeouts", type=int, default=default.max_timeouts, help="time limits to go on after")
    parser.add_argument(
        "--array-parallelism", type=int, default=default.array_parallelism, help="jobs of an array at once"
    )
    parser.add_argument("--name", help="name of the job; default: that of the output folder")
    for option in SBATCH_OPTIONS:
        parser.add_argument(f"--{option}", help="as for sbatch")
    parser.add_argument("--setup", action="append", default=[], metavar="LINE",
                        help="shell line before the tasks start, e.g. 'module load cuda'; may be repeated")  # fmt: skip
    parser.add_argument("--python", metavar="COMMAND", help="how tasks start Python, e.g. in a container")
    parser.add_argument("--slurm", action="append", default=[], metavar="OPTION[=VALUE]",
                        help="any other option of sbatch, e.g. reservation=night; may be repeated")  # fmt: skip
    return parser.parse_args(arguments)


def _parse_command(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Look after the jobs of a run.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder, e.g. outputs/ssv2_adapt")
    parser.add_argument("--lines", type=int, default=10, help="tail: lines of each rank's log")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Submit or look after a run; return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.errors import VideoAdaptError

    try:
        return _look_after(args) if hasattr(args, "command") else _submit(args)
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _look_after(args: argparse.Namespace) -> int:
    from videoadapt import job_status

    if args.command == "status":
        print("\n".join(job_status.status_lines(args.run)))
    elif args.command == "tail":
        print("\n".join(job_status.tail(args.run, args.lines)))
    else:
        ended = job_status.cancel(args.run)
        print(f"cancelled: {', '.join(ended)}" if ended else "nothing of it waits or runs")
    return 0


def _submit(args: argparse.Namespace) -> int:
    from videoadapt import submission
    from videoadapt.config import load_config
    from videoadapt.slurm import Resources

    configs = [load_config(path, args.overrides) for path in args.cfg]
    options = {name: value for name in SBATCH_OPTIONS if (value := getattr(args, name)) is not None}
    for text in args.slurm:
        key, equals, value = text.partition("=")
        options[key] = value if equals else True
    resources = Resources(
        executor=args.executor, nodes=args.nodes, gpus_per_node=args.gpus_per_node, tasks_per_node=args.tasks_per_node,
        minutes=args.time, cpus_per_task=args.cpus_per_task, mem_gb=args.mem, signal_delay_sec=args.signal_delay,
        max_timeouts=args.max_timeouts, array_parallelism=args.array_parallelism, setup=tuple(args.setup),
        name=args.name or configs[0].output.name, python=args.python, slurm=options,
    )  # fmt: skip
    if args.dry_run:
        print(submission.script(configs, resources))
        return 0
    jobs = submission.submit_runs(configs, resources)
    for config, job in zip(configs, jobs, strict=True):
        print(f"job {job.job_id}: {config.output}, logs in {job.paths.folder}", flush=True)
    if args.executor == "slurm":
        print(f"look after it: python tools/submit.py status|tail|cancel {configs[0].output}")
        return 0
    return submission.wait(jobs)


if __name__ == "__main__":
    sys.exit(main())
