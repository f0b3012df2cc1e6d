"""`~` in a key or option that names a file is a home folder, and no folder called `~`."""

import argparse
import importlib
import pwd
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from videoadapt import cli
from videoadapt.cli._paths import place, place_text
from videoadapt.config.loading import load_config
from videoadapt.config.overrides import _alternatives
from videoadapt.config.schema import Config
from videoadapt.config.shipped import find_beside, find_config
from videoadapt.errors import ConfigError
from videoadapt.runs.statement import value_of
from videoadapt.sweeps.plan import Sweep

NO_PATHS = {"chosen", "model.obtain", "model.expect", "data.obtain", "data.val.group", "data.augment.rand_augment"}
PATHS = [
    "output",
    "model.weights",
    "model.backbone_weights",
    "data.root",
    "data.train",
    "data.val",
    "data.test",
    "data.classes",
    "data.cache",
]


def texts_in(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key that takes text or a path, whatever it is for; components have arguments of their own."""
    found = []
    for name, field in schema.model_fields.items():
        kinds = list(_alternatives(field.annotation))
        found += [f"{prefix}{name}"] if {str, Path} & set(kinds) else []
        for kind in kinds:
            found += texts_in(kind, f"{prefix}{name}.") if hasattr(kind, "model_fields") else []
    return found


def test_every_key_with_text_is_a_path_or_known_to_be_none() -> None:
    assert set(texts_in(Config)) == set(PATHS) | NO_PATHS


@pytest.mark.parametrize("key", PATHS)
def test_a_home_folder_in_every_path(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    mine = pwd.getpwuid(0)  # the user whom every system knows
    (tmp_path / "c.yaml").write_text("output: x\n")
    for written, meant in (
        ("~/a b", f"{tmp_path}/home/a b"),
        (f"~{mine.pw_name}/a", f"{mine.pw_dir.rstrip('/')}/a"),
        ("a/~/b", "a/~/b"),
        ("/a~", "/a~"),
    ):
        config = load_config(tmp_path / "c.yaml", [f"{key}={written}"])
        assert str(value_of(config.model_dump(mode="json"), key)) == meant
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "c.yaml", [f"{key}=~nobody-of-that-name/x"])
    assert re.search(rf"{key} = .*~nobody-of-that-name is the home folder of a user, and there is no", str(error.value))


def test_the_files_that_name_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("output: ~/run\n")
    (tmp_path / "c.yaml").write_text("_BASE_: ~/base.yaml\n")
    assert load_config("~/c.yaml").output == tmp_path / "run" and find_config("~/c.yaml") == tmp_path / "c.yaml"
    assert find_beside(Path("elsewhere/x.yaml"), "~/base.yaml") == tmp_path / "base.yaml"
    with pytest.raises(ConfigError, match="nobody-of-that-name"):
        load_config("~nobody-of-that-name/c.yaml")
    (tmp_path / "s.yaml").write_text("base: ~/c.yaml\noutput: ~/cells\naxes: {train.epochs: [1]}\n")
    sweep = Sweep(Path("~/s.yaml"))
    assert sweep.folder == tmp_path / "cells" and sweep.cells[0].folder.is_relative_to(tmp_path / "cells")


def test_options_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert place("~/run") == Path("/home/x/run") and place_text("~") == "/home/x" and place_text("test") == "test"
    with pytest.raises(argparse.ArgumentTypeError, match="nobody-of-that-name"):
        place("~nobody-of-that-name")


# names, numbers and addresses; a config is for find_config
NO_FILES = {"--cfg", "overrides", "--decoder", "--group", "--columns", "--dataset", "--live", "--subset", "--license"} | {
    "--label", "--download", "name", "word", "--corruptions", "--strengths",
}  # fmt: skip
COMMANDS = sorted(
    path.stem for path in Path(cli.__file__).parent.glob("[!_]*.py") if path.stem not in ("main", "submit")
)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_that_names_a_file_is_a_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    added: dict[str, Any] = {}
    add = argparse.ArgumentParser.add_argument

    def noted(self: Any, *flags: str, **values: Any) -> Any:
        if not {"action", "choices", "nargs"} & values.keys() or flags[0][0] != "-":
            added[flags[0]] = values.get("type", str)
        return add(self, *flags, **values)

    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", noted)
    with pytest.raises(SystemExit):
        importlib.import_module(f"videoadapt.cli.{name}").parse_arguments(["--help"])
    assert added and {flag for flag, kind in added.items() if kind in (str, Path)} <= NO_FILES
