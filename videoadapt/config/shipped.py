"""What comes with the package besides code: configs, found by name, and lists, found from any folder.

In a clone both stand beside the package, where people read and change them; a wheel holds them inside of it.
"""

from pathlib import Path

from videoadapt.errors import ConfigError, did_you_mean
from videoadapt.paths import exists, is_file, with_home

PACKAGE = Path(__file__).parents[1]
LISTS = "data_lists"
_SUFFIXES = (".yaml", ".yml")


def shipped_folder(name: str) -> Path:
    """`configs` or `data_lists`: inside the package where it was installed, else in the clone around it."""
    return next((folder for folder in (PACKAGE / name, PACKAGE.parent / name) if folder.is_dir()), PACKAGE / name)


def config_names() -> list[str]:
    """Names of the shipped configs as `--cfg` and `_BASE_` take them: `hmdb51_adapt`, `sweeps/methods`, `method/lora`."""
    folder = shipped_folder("configs")
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """The yaml file that `name` is the path of, or the name of as shipped, which has no suffix. Raises ConfigError."""
    path = _below_home(name)
    if is_file(path) or (path.suffix in _SUFFIXES and not _without_suffix(path)):
        return path  # a file that is not there is the reader's to tell
    known = config_names()
    if path.suffix in _SUFFIXES:
        raise ConfigError(
            f"{name}: there is no such file here; the shipped config has the name {_without_suffix(path)}"
        )
    if path.as_posix() in known:
        return shipped_folder("configs") / f"{name}.yaml"
    if is_file(path / "config.yaml"):
        raise ConfigError(f"{name}: is a run's folder; its config is {path / 'config.yaml'}")
    siblings = [other for other in known if Path(other).parent == path.parent]
    allowed = siblings or [other for other in known if "/" not in other]
    raise ConfigError(f"{name}: neither a file nor a shipped config; {did_you_mean(str(name), allowed)}")


def find_beside(path: Path, name: str | Path) -> Path:
    """What the yaml `path` names as its base: a file relative to itself, or a shipped config by its name."""
    beside = path.parent / _below_home(name)
    return beside if beside.suffix in _SUFFIXES or is_file(beside) else find_config(name)


def find_list(name: str | Path) -> Path:
    """A list of videos or of classes: the file at this path, or, for `data_lists/...` that is not here, the shipped one."""
    path = Path(name)
    if path.parts[:1] == (LISTS,) and not exists(path):
        shipped = shipped_folder(LISTS).joinpath(*path.parts[1:])
        return shipped if is_file(shipped) else path
    return path


def _below_home(name: str | Path) -> Path:
    try:
        return Path(with_home(str(name)))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def _without_suffix(path: Path) -> str:
    """The name of the shipped config that is at this path in a clone, "" when there is none."""
    name = path.with_suffix("").as_posix().removeprefix("configs/")
    return name if name in config_names() else ""
