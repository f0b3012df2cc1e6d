"""A name that no file system takes is one line, whichever command is given it."""

from pathlib import Path

import pytest
import yaml

import videoadapt
from tests.toy_runs import toy_config, write_config
from videoadapt.cli import demo, prepare, submit, sweep, train
from videoadapt.cli import test as testing
from videoadapt.errors import ConfigError, DecodeError, VideoAdaptError

LONG = "x" * 300
REFUSED = "File name too long; choose another folder"
NOT_A_RUN = "not a run folder (no config.yaml in it)"


@pytest.mark.parametrize("name", [LONG, f"{LONG}/run"])
@pytest.mark.parametrize(
    ("command", "arguments", "key", "reason"),
    [
        (train, ["--cfg", "CONFIG", "output=NAME"], "output = ", REFUSED),
        (testing, ["--cfg", "CONFIG", "output=NAME"], "output = ", REFUSED),
        (submit, ["--cfg", "CONFIG", "--dry-run", "output=NAME"], "output = ", REFUSED),
        (submit, ["--cfg", "CONFIG", "--dry-run", "output=NAME", "train.enable=false"], "output = ", REFUSED),
        (sweep, ["--cfg", "SWEEP", "output=NAME"], "output = ", REFUSED),
        (train, ["--cfg", "CONFIG", "model.weights=NAME"], "model.weights = ", "there is no such file"),
        (train, ["--cfg", "NAME"], "", "neither a file nor a shipped config"),
        (sweep, ["--cfg", "NAME"], "", "neither a file nor a shipped config"),
        (submit, ["status", "NAME"], "", "no job of such a run was submitted"),
        (demo, ["a.mp4", "--run", "NAME"], "", NOT_A_RUN),
        (demo, ["a.mp4", "--adapter", "NAME"], "", "there is no such adapter file"),
        (prepare, ["folder", "NAME", "--out", "lists"], "", "is no folder"),
        (prepare, ["hmdb51", "NAME", "--out", "lists"], "", "is no folder"),
    ],
)
def test_a_name_too_long_is_refused_in_a_line(
    command, arguments, key, reason, name, clips: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))
    axes = {"optim.lr_per_256": [0.1, 0.01]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"base": "c.yaml", "output": "s", "axes": axes}))
    given = {"NAME": name, "CONFIG": str(config), "SWEEP": str(tmp_path / "s.yaml")}
    for word, text in given.items():
        arguments = [argument.replace(word, text) for argument in arguments]
    assert command.main(arguments) == 2
    shown = capsys.readouterr().err
    assert "error: " in shown and reason in shown.replace(name, "NAME")
    assert key in shown and sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml", "s.yaml"]


@pytest.mark.parametrize("name", [LONG, "a\0b"])
def test_a_call_in_python_says_the_same(name: str) -> None:
    for call in (videoadapt.load, videoadapt.open_video, videoadapt.read_clip, videoadapt.load_config):
        with pytest.raises((VideoAdaptError, DecodeError, ConfigError), match=name):
            call(name)
