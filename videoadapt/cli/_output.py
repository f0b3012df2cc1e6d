"""Where a command is to write, looked at before it works for minutes and not after."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

from videoadapt.errors import ConfigError
from videoadapt.paths import is_file, is_folder, why_unwritable


def check_own_folder(cfg: str | Path, overrides: Sequence[str], output: Path) -> None:
    """Raise ConfigError where the config of a run's folder names another `output`, as in a copy, or from another place.

    It would be another run that is trained or tested there. An `output` that is said on the command line is meant.
    """
    from videoadapt.config.overrides import split_tokens

    folder = Path(cfg).parent
    if Path(cfg).name != "config.yaml" or not is_file(cfg) or not is_folder(folder / "checkpoints"):
        return
    if folder.resolve() != output.resolve() and "output" not in dict(split_tokens(overrides)):
        raise ConfigError(
            f"{cfg}: output = {output} is not the folder that it lies in; for the run there add output {quote(str(folder))}, "
            f"for the other one output {quote(str(output))}"
        )


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
