"""Weights by name in a config: as the commits that they stand for, and on this machine before a run begins."""

from contextlib import suppress
from typing import Any

from videoadapt import distributed
from videoadapt.config.schema import Config
from videoadapt.config.yaml_files import read_yaml
from videoadapt.errors import ConfigError, VideoAdaptError, at_file_key
from videoadapt.paths import is_file
from videoadapt.runs.statement import value_of
from videoadapt.weights.names import downloaded, is_name, is_short, split_name
from videoadapt.weights.published import fetched, pinned

_KEYS = ("weights", "backbone_weights")


def with_commits(config: Config) -> Config:
    """The config with a commit in each name: that of the run in `output`, else the newest one, the same on all ranks.

    A name that cannot be asked about stays as it is, for `download_problems` to say why.
    """
    if not (names := _names(config)):
        return config
    update: dict[str, str] = {}
    if distributed.is_main():
        path = config.output / "config.yaml"
        with suppress(VideoAdaptError, OSError):
            before = read_yaml(path) if is_file(path) else {}
            update = {key: pinned(name, value_of(before, f"model.{key}")) for key, name in names.items()}
    update = distributed.all_gather_objects(update)[0]
    return config.model_copy(update={"model": config.model.model_copy(update=update)})


def download_problems(config: Config, *, hold: bool) -> list[str]:
    """Download what is named and not here, in one process of each host; what goes wrong is said, a line each.

    `hold`: something else is wrong, and nothing is downloaded for a run that cannot begin; of a short name, which downloads
    nothing, it is said all the same that it is not here.
    """
    names = _names(config)
    if names and any(distributed.all_gather_objects(hold)):
        names = {key: name for key, name in names.items() if is_short(name)}
    if not names:
        return []

    def download() -> None:
        for key, name in names.items():
            with at_file_key(f"model.{key}"):
                fetched(name)

    try:
        distributed.first_of_each_host_first(download)
    except VideoAdaptError as error:
        return error.problems if isinstance(error, ConfigError) else [str(error)]
    return []


def published(config: Config) -> dict[str, dict[str, Any]]:
    """For results.json: of each key with a name its commit, licence, and the sha256 of every file."""
    found = {key: (name, downloaded(split_name(name)[0])) for key, name in _names(config).items()}
    return {
        f"model.{key}": {
            "name": name,
            "licence": had.licence,
            "sha256": {file: sha for file, (_, sha) in had.files.items()},
        }
        for key, (name, had) in found.items()
        if had is not None
    }


def _names(config: Config) -> dict[str, str]:
    given = {key: getattr(config.model, key) for key in _KEYS}
    return {key: name for key, name in given.items() if name is not None and is_name(name)}
