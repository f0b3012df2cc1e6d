"""Prepare videos for training: check lists, make them from folders or official archives, re-encode for fast seeking."""

import argparse

from videoadapt.cli._command import command, program
from videoadapt.cli._prepare_lists import add_folder, add_published
from videoadapt.cli._prepare_videos import add_check, add_reencode, add_scan


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; `run` of the result is the command's function."""
    parser = argparse.ArgumentParser(
        prog=program("prepare"),
        description=__doc__,
        epilog="Exit codes: 0 done, 2 an error, 3 some files or rows cannot be used (each is named).",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_scan, add_check, add_folder, add_reencode, add_published):
        add(commands)
    return parser.parse_args(arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.config.schema import DAY_SEC
    from videoadapt.config.shipped import find_list
    from videoadapt.errors import ConfigError
    from videoadapt.log import setup_logging

    setup_logging()
    if getattr(args, "jobs", 1) < 1:
        raise ConfigError(f"--jobs {args.jobs}: allowed: 1 or more")
    if not 0 < getattr(args, "limit_sec", 1) <= DAY_SEC:
        raise ConfigError(f"--limit-sec {args.limit_sec:g}: allowed: above 0, to {DAY_SEC}")
    if "list" in args:
        args.list = str(find_list(args.list))
    code: int = args.run(args)
    return code
