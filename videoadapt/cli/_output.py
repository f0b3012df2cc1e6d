"""Where a command is to write, looked at before it works for minutes and not after."""

import os
from collections.abc import Iterable
from pathlib import Path

from videoadapt.errors import ConfigError
from videoadapt.paths import why_unwritable


def check_folder(argument: str, folder: Path) -> None:
    """Raise ConfigError unless files can be written in `folder`, which is there or will be made."""
    if reason := why_unwritable(folder):
        raise ConfigError(f"{argument} {folder}: {reason}")


def check_not_read(argument: str, path: Path, sources: Iterable[str | Path]) -> None:
    """Raise ConfigError where `path` is one of the files, or the folder, that the command reads: it would be lost."""
    if not path.exists():
        return
    for source in sources:
        if os.path.exists(source) and os.path.samefile(path, source):
            raise ConfigError(f"{argument} {path}: is read by this command, and would be lost; name another")


def check_file(argument: str, path: Path) -> None:
    """Raise ConfigError unless the file `path` can be written, over an older one too."""
    if path.is_dir():
        raise ConfigError(f"{argument} {path}: is a folder; name a file")
    if reason := why_unwritable(path.parent):
        raise ConfigError(f"{argument} {path}: {reason}")
