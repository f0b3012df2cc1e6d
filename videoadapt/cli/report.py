"""Make the report.html of a run again, which every run leaves: everything about it on one page."""

import argparse

from videoadapt.cli._command import command, program
from videoadapt.cli._options import add_run
from videoadapt.cli._overrides import add_overrides, parse_with_overrides


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=program("report"), allow_abbrev=False, description=__doc__)
    add_run(parser)
    add_overrides(parser, "where films are now, e.g. data.root /videos")
    return parse_with_overrides(parser, arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Write the page and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.evaluation.report.page import write_report
    from videoadapt.log import setup_logging
    from videoadapt.runs.folder import run_config

    setup_logging()
    print(write_report(args.run, run_config(args.run, args.overrides)))
    return 0
