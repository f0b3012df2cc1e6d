"""README and docs/ show commands that exist: each is run, or checked as far as it goes without data."""

import argparse
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from benchmarks import run as benchmark
from tests.toy_runs import REPOSITORY
from videoadapt.cli import train
from videoadapt.cli._command import SCRIPTS
from videoadapt.cli.main import COMMANDS as NAMES
from videoadapt.config.loading import load_config
from videoadapt.sweeps.plan import Sweep

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = sorted(path.name for path in (REPOSITORY / "docs").glob("*.md"))
DOCS = [(REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in PAGES]
BLOCKS = re.findall(r"```bash\n(.*?)```", "\n".join([TEXT, *DOCS]), re.S)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").replace(" && ", "\n").splitlines()
    if line.strip() and not line.startswith(("sudo", "apt-get"))
]
OF_SCRIPT = {f"tools/{script}": name for name, script in SCRIPTS.items() if name != "test"}


def parse(command: list[str]) -> tuple[str, argparse.Namespace]:
    """The name of a command, called by a script of a clone or as `videoadapt NAME`, and its arguments."""
    start = next(at for at, word in enumerate(command) if word == "videoadapt" or word.startswith("tools/"))
    if command[start] == "tools/benchmark.py":
        return "benchmark", benchmark.parse_arguments(command[start + 1 :])
    words = (
        command[start + 1 :] if command[start] == "videoadapt" else [OF_SCRIPT[command[start]], *command[start + 1 :]]
    )
    assert words[0] in NAMES
    return words[0], importlib.import_module(f"videoadapt.cli.{words[0]}").parse_arguments(words[1:])


def test_the_main_things_are_shown() -> None:
    shown = [" ".join(command) for command in COMMANDS]
    for expected in (
        "make quickstart",
        "make test",
        "python tools/run_net.py --cfg configs/hmdb51_adapt.yaml",
        "python tools/demo.py video.mp4",
        "pip install .",
        "videoadapt train --cfg quickstart",
    ):
        assert expected in shown
    assert any("train.enable false" in line for line in shown)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_understood(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make targets exist, tools and configs are there, arguments parse, and configs with overrides load."""
    if command[0] == "make":
        subprocess.run(["make", "-n", command[1]], cwd=REPOSITORY, check=True, capture_output=True)
        return
    if command[:2] == ["pip", "install"]:  # tests/cli/test_wheel.py does that
        return
    if module := [word for word in command if re.match(r"benchmarks[./]", word)]:
        assert (REPOSITORY / module[0].removesuffix(".py").replace(".", "/")).with_suffix(".py").is_file()
        return
    monkeypatch.chdir(REPOSITORY)
    name, args = parse(command)
    if name == "sweep":
        assert Sweep(Path(args.cfg), args.overrides).cells
    elif getattr(args, "cfg", None):
        for path in [args.cfg] if isinstance(args.cfg, str) else args.cfg:
            load_config(path, args.overrides)


def test_without_data_the_main_command_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = next(c for c in COMMANDS if " ".join(c) == "python tools/run_net.py --cfg configs/hmdb51_adapt.yaml")
    monkeypatch.chdir(REPOSITORY)
    assert train.main([*command[2:], "data.root", "nowhere", "output", "outputs/readme"]) == 2
    shown = capsys.readouterr().err
    assert "where to get it" in shown and "model.weights = " in shown and shown.startswith("error: ")


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "data_lists/README.md", *(f"docs/{page}" for page in PAGES)]
)
def test_links_lead_somewhere(page: str) -> None:
    """To files that are there, and to headings that are in them."""
    links = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", (REPOSITORY / page).read_text(encoding="utf-8"))
    for path, heading in links:
        leads_to = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert leads_to.exists(), path
        if heading:
            assert heading in headings(leads_to), f"{path}#{heading}"


def headings(page: Path) -> set[str]:
    """Their names in links, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
