"""What a job asks of Slurm, as options on the command line."""

import argparse

from videoadapt.errors import ConfigError
from videoadapt.slurm.resources import Resources, parse_minutes
from videoadapt.system import WINDOWS

SBATCH_OPTIONS = ("partition", "account", "qos", "constraint", "exclude", "comment")


def resource_options() -> argparse.ArgumentParser:
    """A parser of the options, for `parents` of a command's parser."""
    parser, default = argparse.ArgumentParser(add_help=False), Resources()
    parser.add_argument(
        "--executor", choices=("slurm", "local", "debug"), default="slurm", help="local, debug: no Slurm"
    )
    parser.add_argument("--nodes", type=int, default=default.nodes)
    parser.add_argument(
        "--gpus-per-node", type=int, default=default.gpus_per_node, help="one task for each; 0: CPU tasks"
    )
    parser.add_argument("--tasks-per-node", type=int, default=default.tasks_per_node, help="CPU tasks, without GPUs")
    parser.add_argument("--time", type=_minutes, default=default.minutes, help="limit of one attempt, as for sbatch")
    parser.add_argument("--cpus-per-task", type=int, help="default: 1 + data.workers")
    parser.add_argument("--mem", type=float, metavar="GB", help="memory of each node")
    parser.add_argument("--signal-delay", type=int, default=default.signal_delay_sec, metavar="SEC",
                        help="how long before the time limit the job stops and saves")  # fmt: skip
    parser.add_argument(
        "--max-timeouts", type=int, default=default.max_timeouts, help="time limits after which the run still resumes"
    )
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
    return parser


def resources_from(args: argparse.Namespace, name: str) -> Resources:
    """The resources that parsed options ask for; `name` is the jobs' name where they give none.

    Raises ConfigError on Windows.
    """
    if WINDOWS:
        raise ConfigError(
            "submit: jobs save and go on by signals that Windows has not; submit from Linux, or train here"
        )
    options = {name: value for name in SBATCH_OPTIONS if (value := getattr(args, name)) is not None}
    for text in args.slurm:
        key, equals, value = text.partition("=")
        options[key] = value if equals else True
    return Resources(
        executor=args.executor, nodes=args.nodes, gpus_per_node=args.gpus_per_node, tasks_per_node=args.tasks_per_node,
        minutes=args.time, cpus_per_task=args.cpus_per_task, mem_gb=args.mem, signal_delay_sec=args.signal_delay,
        max_timeouts=args.max_timeouts, array_parallelism=args.array_parallelism, setup=tuple(args.setup),
        name=args.name or name, python=args.python, slurm=options,
    )  # fmt: skip


def _minutes(text: str) -> int:
    try:
        return parse_minutes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
