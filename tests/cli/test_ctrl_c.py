"""Ctrl-C as a terminal sends it, to all processes at once, at any moment of a run: one line, exit code 130, no traceback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live_runs import descendants, is_gone
from tests.toy_runs import REPOSITORY, environment, toy_config, write_config
from videoadapt import terminal
from videoadapt.cli._command import SCRIPTS, command
from videoadapt.log import progress


def hears_ctrl_c() -> None:
    """As a program that a terminal starts does, whoever runs the tests: nohup ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """This process hears Ctrl-C during the test."""
    before = signal.getsignal(signal.SIGINT)
    hears_ctrl_c()
    yield
    signal.signal(signal.SIGINT, before)


def press(arguments: list[str], log: Path, moment: str, delay_sec: float) -> tuple[int, str]:
    """Run the command, press Ctrl-C so long after it says `moment`; return the exit code and all that was said."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "videoadapt", *arguments],
            cwd=REPOSITORY, env=environment(), stdout=file, stderr=file, start_new_session=True, preexec_fn=hears_ctrl_c,
        )  # fmt: skip
        deadline = time.monotonic() + 600
        while moment not in log.read_text(encoding="utf-8") + _mapped(process.pid):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.01)
        time.sleep(delay_sec)
        others = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        code, deadline = process.wait(timeout=120), time.monotonic() + 60
    while not all(map(is_gone, others)):  # they may still have something to say
        assert time.monotonic() < deadline, "processes are left behind"
        time.sleep(0.05)
    return code, log.read_text(encoding="utf-8")


def _mapped(pid: int) -> str:
    """The names of the files that a process has in memory: what it has imported of native code."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


IMPORTING = "pydantic_core"  # of the first module that a command imports; before, Python itself is starting


@pytest.mark.slow
@pytest.mark.parametrize("delay_sec", [0.0, 0.4, 1.0, 1.6, 2.5])
@pytest.mark.parametrize("moment", [IMPORTING, "rendering train videos", "cost of a test video"])
def test_a_run_is_stopped_at_any_moment(moment: str, delay_sec: float, clips: Path, tmp_path: Path) -> None:
    """While modules are imported, while files are rendered, while the processes start that read."""
    root = tmp_path / "clips" if moment.startswith("rendering") else clips
    config = toy_config(tmp_path / "out", root, train={"epochs": 200})
    config["data"]["workers"] = 2
    if root != clips:
        config["data"]["dataset"]["train_per_class"] = 60  # so many that processes render them
    path = write_config(tmp_path / "c.yaml", config)
    code, said = press(["train", "--cfg", str(path)], tmp_path / "log", moment, delay_sec)
    assert code == 130 and "Traceback" not in said and "Error" not in said, said
    assert said.splitlines()[-1].startswith("stopped") and said.count("stopped") == 1, said


@pytest.mark.slow
@pytest.mark.parametrize("delay_sec", [0.0, 1.0, 3.0])
def test_a_sweep_is_stopped_at_any_moment(delay_sec: float, clips: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "base.yaml", toy_config(tmp_path / "o", clips, train={"epochs": 200}))
    sweep = {"base": "base.yaml", "output": str(tmp_path / "sweep"), "axes": {"optim.lr_per_256": [0.1, 0.2]}}
    path = write_config(tmp_path / "s.yaml", sweep)
    code, said = press(["sweep", "--cfg", str(path)], tmp_path / "log", IMPORTING, 1.5 + delay_sec)
    assert code == 130 and "Traceback" not in said, said
    assert said.splitlines()[-1].startswith("stopped") and said.count("stopped") == 1, said


ENDING = """
import atexit, os, signal, sys
from videoadapt.cli._command import command, leave

signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(os.write, 1, b"what was to be done at the end\\n")

class Native:
    def __del__(self, write=os.write):
        write(1, b"taken apart\\n")

native = Native()

@command(stopped="stopped")
def inner(): {inner}; return 0

@command(stopped="stopped, and more")
def outer(): return inner()

leave(outer())
"""


@pytest.mark.parametrize(
    ("inner", "code", "output", "errors"),
    [
        ("sys.stdout.write('a result ')", 0, "a result what was to be done at the end\ntaken apart\n", ""),
        ("os.kill(os.getpid(), signal.SIGINT)", 130, "what was to be done at the end\n", "stopped\n"),
    ],
)
def test_an_interrupted_program_is_not_taken_apart(inner: str, code: int, output: str, errors: str) -> None:
    """Native code whose import was cut short aborted there, once; and the command inside says how to go on, alone."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(inner=inner)],
        env=environment(), cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, output, errors)


@pytest.mark.parametrize("program", [*SCRIPTS.values(), "../videoadapt/__main__.py"])
def test_every_program_leaves_in_this_way(program: str) -> None:
    assert "leave(main())\n" in (REPOSITORY / "tools" / program).read_text(encoding="utf-8")


def test_the_exit_code_is_130_whatever_the_interrupt_passed() -> None:
    """One that passes an `exec`, as imports of named tuples and data classes have it, ended Python by the signal."""
    code = (
        "import os, signal, sys; from videoadapt.cli._command import command\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs inherit that it is ignored
        "@command(stopped='stopped')\n"
        "def main(): exec('os.kill(os.getpid(), signal.SIGINT)'); return 0\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=REPOSITORY, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "stopped\n")


@pytest.mark.usefixtures("ctrl_c")
def test_what_follows_a_swallowed_ctrl_c_is_no_error_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Native code takes KeyboardInterrupt for a failed import, and goes on without the module."""

    @command(stopped="stopped")
    def main() -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise AttributeError("module 'numpy' has no attribute 'matrix'") from None
        return 0

    @command(stopped="stopped")
    def goes_on() -> int:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with progress("a long loop", 1, "things") as line:
            line.advance()
        return 0

    @command(stopped="stopped")
    def ends() -> int:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        return 0

    before = signal.getsignal(signal.SIGINT)
    assert ends() == 130 and capsys.readouterr().err == "stopped\n"
    assert goes_on() == 130 and capsys.readouterr().err == "stopped\n"
    assert main() == 130 and capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(signal.SIGINT) is before


class Press:
    """Presses Ctrl-C when it is let go, where Python can pass no exception on."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("again_after_sec", [terminal._AGAIN_AFTER_SEC, 0.0])  # soon: while it is still being dropped
def test_a_ctrl_c_that_python_drops_is_heard(
    again_after_sec: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a finalizer, or when an import lets go of its lock; Python prints a traceback there and goes on."""
    monkeypatch.setattr(terminal, "_AGAIN_AFTER_SEC", again_after_sec)

    @command(stopped="stopped")
    def main() -> int:
        thing = Press()
        del thing
        time.sleep(60)
        return 0

    @command(stopped="stopped")
    def ends_at_once() -> int:
        thing = Press()
        del thing
        return 0

    before, began = sys.unraisablehook, time.monotonic()
    assert main() == 130 and capsys.readouterr().err == "stopped\n"
    assert time.monotonic() - began < 30, "it slept to the end"
    assert ends_at_once() == 130 and capsys.readouterr().err == "stopped\n"
    time.sleep(0.1)  # what would have come again
    assert sys.unraisablehook is before and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
@pytest.mark.parametrize("delay_sec", [0.0, 2.0, 6.0])
def test_loggers_in_processes_of_their_own_change_nothing(delay_sec: float, clips: Path, tmp_path: Path) -> None:
    """While their processes start, and while they log."""
    uri = f"sqlite:///{tmp_path}/ml.db"
    training = {"epochs": 200, "loggers": ["wandb", {"name": "mlflow", "uri": uri}]}
    path = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips, train=training))
    code, said = press(["train", "--cfg", str(path)], tmp_path / "log", "cost of a test video", delay_sec)
    assert code == 130 and "Traceback" not in said and "Error" not in said, said
    assert said.splitlines()[-1].startswith("stopped")
