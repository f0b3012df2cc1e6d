"""README and three files of docs/ show commands that exist: each is run, or checked as far as it goes without data."""

import re
import shlex
import subprocess

import pytest

from benchmarks import run as benchmark
from tests.toy_runs import REPOSITORY
from videoadapt.cli import convert, demo, export, features, prepare, submit, sweep, train

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = ("weights.md", "decoders.md", "benchmarks.md", "cluster.md")
DOCS = [(REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in PAGES]
BLOCKS = re.findall(r"```bash\n(.*?)```", "\n".join([TEXT, *DOCS]), re.S)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("sudo")
]
PARSERS = {
    "tools/benchmark.py": benchmark.parse_arguments,
    "tools/convert_checkpoint.py": convert.parse_arguments,
    "tools/run_net.py": train.parse_arguments,
    "tools/export.py": export.parse_arguments,
    "tools/submit.py": submit.parse_arguments,
    "tools/prepare_data.py": prepare.parse_arguments,
    "tools/demo.py": demo.parse_arguments,
    "tools/extract_features.py": features.parse_arguments,
    "tools/sweep.py": sweep.parse_arguments,
}


def test_the_six_things_are_shown() -> None:
    shown = [" ".join(command) for command in COMMANDS]
    for expected in (
        "make quickstart",
        "make test",
        "python tools/run_net.py --cfg configs/hmdb51_adapt.yaml",
        "python tools/demo.py video.mp4",
    ):
        assert expected in shown
    assert any("train.enable false" in line for line in shown)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_understood(command: list[str]) -> None:
    """Make targets exist, tools and configs are there, arguments parse, and configs with overrides load."""
    if command[0] == "make":
        subprocess.run(["make", "-n", command[1]], cwd=REPOSITORY, check=True, capture_output=True)
        return
    tool = next(part for part in command if part.startswith("tools/"))
    args = PARSERS[tool](command[command.index(tool) + 1 :])
    if tool == "tools/sweep.py":
        from videoadapt.sweeps.plan import Sweep

        assert Sweep(REPOSITORY / args.cfg, args.overrides).cells
    elif getattr(args, "cfg", None):
        from videoadapt.config.loading import load_config

        for path in [args.cfg] if isinstance(args.cfg, str) else args.cfg:
            load_config(REPOSITORY / path, args.overrides)


def test_without_data_the_main_command_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = next(c for c in COMMANDS if " ".join(c) == "python tools/run_net.py --cfg configs/hmdb51_adapt.yaml")
    monkeypatch.chdir(REPOSITORY)
    assert train.main([*command[2:], "data.root", "nowhere", "output", "outputs/readme"]) == 2
    shown = capsys.readouterr().err
    assert "where to get it" in shown and "model.weights = " in shown and shown.startswith("error: ")


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_links_lead_somewhere(path: str) -> None:
    assert (REPOSITORY / path).exists()
