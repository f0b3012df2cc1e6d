"""Paths on a command line, for `type=` of argparse: `~` is a home folder also where the shell leaves it (`--run=~/x`)."""

import argparse
from pathlib import Path

from videoadapt.paths import with_home


def place(text: str) -> Path:
    """A file or a folder."""
    return Path(place_text(text))


def place_text(text: str) -> str:
    """The same, as text: what may also be a name that is no path."""
    try:
        return with_home(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error
