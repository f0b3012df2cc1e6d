"""Make the report.html of a run again, which every run leaves: everything about it on one page."""

import argparse

from videoadapt.cli._command import command, program
from videoadapt.cli._overrides import add_overrides, parse_with_overrides
from videoadapt.cli._paths import place


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=program("report"), allow_abbrev=False, description=__doc__)
    parser.add_argument("run", type=place, metavar="RUN", help="run folder")
    add_overrides(parser, "where films are now, e.g. data.root /videos")
    return parse_with_overrides(parser, arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Write the page and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.config.loading import load_config
    from videoadapt.evaluation.report.page import write_report
    from videoadapt.log import setup_logging
    from videoadapt.paths import is_file

    setup_logging()
    path = args.run / "config.yaml"
    print(write_report(args.run, load_config(path, args.overrides) if is_file(path) else None))
    return 0
