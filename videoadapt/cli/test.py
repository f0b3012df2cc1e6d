"""Only test what a config has trained: `train` with `train.enable false`."""

import argparse

from videoadapt.cli._command import command
from videoadapt.cli._overrides import parse_with_overrides
from videoadapt.cli.train import STOPPED, parser, run


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("test", __doc__, "The newest checkpoint in `output` is tested, or the best.")
    return parse_with_overrides(made, arguments)


@command(STOPPED)
def main(arguments: list[str] | None = None) -> int:
    """Test and return the exit code."""
    args = parse_arguments(arguments)
    return run(args.cfg, [*args.overrides, "train.enable=false"])
