"""`videoadapt COMMAND`: which command runs, how each begins and ends, and how little is imported for it."""

import errno
import getpass
import importlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy_runs import REPOSITORY, environment
from videoadapt import __version__
from videoadapt.cli import _command, main, test
from videoadapt.cli._command import SCRIPTS, command, words_for
from videoadapt.errors import ConfigError, Interrupted

HEAVY = ("torch", "numpy", "pydantic", "yaml", "rich", "av", "fvcore", "matplotlib", "submitit", "timm")
SHOW_ALL_HELP = """
import sys
from videoadapt.cli.main import COMMANDS, main
for arguments in [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]:
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0, arguments
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_a_user_without_a_name_goes_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch asks for a name, and ends a training with a KeyError when there is none (docker run --user 1234)."""

    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setenv("USER", "")  # put back at the end, whatever is set in between
    seen = []
    assert command("stopped")(lambda: seen.append(getpass.getuser()) or 0)() == 0
    assert seen == [str(os.getuid())]


def start(*arguments: str, stdout: int, **changes: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment() | changes,
        text=True,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"videoadapt.cli.{name}")
    with pytest.raises(SystemExit) as end:
        main.main([name, "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and shown.startswith("usage: videoadapt " + name)
    assert " ".join(module.__doc__.partition(":")[0].split()[:4]) in " ".join(shown.split())
    assert (REPOSITORY / "tools" / SCRIPTS[name]).is_file()


def test_the_files_of_the_package_are_the_commands() -> None:
    files = {path.stem for path in Path(main.__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    assert files - {"main"} == set(main.COMMANDS) == set(SCRIPTS)


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_ALL_HELP], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded[0] == "LOADED" and not set(HEAVY) & set(loaded)


def test_help_version_and_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0 and "  train       train a config" in capsys.readouterr().out
    assert main.main(["--version"]) == 0 and capsys.readouterr().out == f"videoadapt {__version__}\n"
    assert main.main([]) == 2 and "usage: videoadapt COMMAND" in capsys.readouterr().err
    assert main.main(["tarin", "--cfg", "x"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: videoadapt tarin: no such command; did you mean 'train'? allowed: "
    )


def test_testing_is_training_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(test, "run", lambda *arguments: seen.append(arguments) or 0)
    assert main.main(["test", "--cfg", "quickstart", "train.enable", "true", "seed=1"]) == 0
    assert seen == [("quickstart", ["train.enable", "true", "seed=1", "train.enable=false"])]


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (ConfigError(["one: 1", "two: 2"]), 2, "error: one: 1\ntwo: 2\n"),
        (Interrupted("stopped after step 3", signal.SIGTERM), 130, "stopped after step 3\n"),
        (KeyboardInterrupt(), 130, "at once\n"),
        (ModuleNotFoundError("No module named 'submitit'", name="submitit.helpers"), 2,
         "error: this needs the package submitit, which is not installed: pip install submitit\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2,
         "error: a file cannot be written: No space left on device; free some space and run the same command again\n"),
    ],
)  # fmt: skip
def test_how_a_command_ends(error: BaseException, code: int, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    @command(stopped="at once")
    def failing() -> int:
        raise error

    assert failing() == code and capsys.readouterr().err == shown


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), BrokenPipeError("a worker's"), ModuleNotFoundError("x", name="videoadapt.gone")]
)
def test_a_mistake_of_ours_keeps_its_traceback(error: Exception) -> None:
    @command(stopped="")
    def failing() -> int:
        raise error

    with pytest.raises(type(error)):
        failing()


def test_ctrl_c_gives_130_and_one_line() -> None:
    code = (
        "import signal, sys, time; from videoadapt.cli._command import command\n"
        # a shell starts what follows `nohup` or precedes `&` deaf to Ctrl-C, these tests as well
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@command(stopped='stopped')\n"
        "def main(): print('ready', flush=True); time.sleep(60)\n"
        "sys.exit(main())"
    )
    process = start("-c", code, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=300) == ("", "stopped\n") and process.returncode == 130


@pytest.mark.parametrize(("arguments", "unbuffered"), [(["--help"], ""), (["--help"], "1"), (["demo", "--help"], "")])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str], unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("-m", "videoadapt", *arguments, stdout=writer, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)
    assert process.communicate(timeout=300)[1] == "" and process.returncode == 141


@pytest.mark.slow
@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_lets_its_reader_go(name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("-m", "videoadapt", name, "--help", stdout=writer, PYTHONUNBUFFERED="")
    os.close(writer)
    assert process.communicate(timeout=300)[1] == "" and process.returncode == 141


def test_a_terminal_without_the_letters_gets_them_spelled_out() -> None:
    """Of a name in another script, and of a file's name that is no text in any."""
    code = (
        "import sys; from videoadapt.cli._command import command\n"
        "@command(stopped='')\n"
        "def main(): print('\\u65e5 \\udcff'); return 0\n"
        "sys.exit(main())"
    )
    process = start("-c", code, stdout=subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert process.communicate(timeout=300) == ("\\u65e5 \\udcff\n", "") and process.returncode == 0


def test_words_name_the_way_we_were_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    installed = tmp_path / ".venv/bin/videoadapt"
    installed.parent.mkdir(parents=True)
    installed.touch(mode=0o755)
    for started, expected in {
        "tools/run_net.py": ".venv/bin/python tools/demo.py",
        "/clone/tools/sweep.py": ".venv/bin/python /clone/tools/demo.py",
        "/lib/videoadapt/__main__.py": ".venv/bin/python -m videoadapt demo",
        str(installed): ".venv/bin/videoadapt demo",
        "/usr/bin/pytest": "videoadapt demo",
    }.items():
        monkeypatch.setattr(sys, "argv", [started])
        assert " ".join(words_for("demo")) == expected
    monkeypatch.setenv("PATH", str(installed.parent), prepend=os.pathsep)
    monkeypatch.setattr(sys, "argv", [str(installed)])
    assert shutil.which("videoadapt") and _command.program("demo") == "videoadapt demo"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "argv", ["tools/run_net.py"])
    assert _command.program("demo") == "python tools/demo.py"
