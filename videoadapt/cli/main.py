"""The command `videoadapt`: its first word is the name of a command, and nothing but that command is imported."""

import importlib
import sys

from videoadapt import __version__
from videoadapt.cli._command import EXIT_ERROR, command

COMMANDS = {
    "train": "train a config and test it; resume where it was stopped",
    "test": "only test what was trained",
    "demo": "name the action in video files",
    "report": "make a run's report.html again",
    "robustness": "test a run on corrupted videos",
    "inspect": "show what a run's adapters changed",
    "compare": "put runs side by side that were tested on the same videos",
    "attack": "change test clips within a budget so that a run fails, and say how often it does",
    "unknown": "measure how well a run tells unknown actions from its own",
    "segment": "say what happens when in films",
    "evaluate": "compare detected segments with annotations",
    "sweep": "train and compare a table of configs",
    "submit": "run a config on Slurm, and look after its jobs",
    "prepare": "check lists of videos, make them, or re-encode the videos",
    "features": "write a feature for every video of a list",
    "export": "write a trained model for other programs",
    "convert": "bring weights into another format",
    "models": "list published trunks by name, and download them",
    "push": "publish the adapter of a run",
}


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Run the command named first and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else ""
    if name in COMMANDS:
        return importlib.import_module(f"videoadapt.cli.{name}").main(arguments[1:])
    if name == "--version":
        print(f"videoadapt {__version__}")
        return 0
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name:
        from videoadapt.errors import ConfigError, did_you_mean

        raise ConfigError(f"videoadapt {name}: no such command; {did_you_mean(name, COMMANDS)}")
    sys.stderr.write(f"{usage()}\n")
    return EXIT_ERROR


def usage() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: videoadapt COMMAND ...",
            "",
            "Adapt a frozen video transformer to your own actions.",
            "",
            *lines,
            "",
            "videoadapt COMMAND --help says more; videoadapt --version names the release.",
            "A first run, in an empty folder: videoadapt train --cfg quickstart",
        ]
    )
