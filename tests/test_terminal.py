"""Names that others chose reach the terminal as letters: no sequence in them is obeyed, whichever command shows it."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.toy_runs import REPOSITORY, environment
from videoadapt import log, logger
from videoadapt.cli._command import command
from videoadapt.cli.main import main
from videoadapt.errors import DecodeError
from videoadapt.files import write_json
from videoadapt.terminal import no_commands_to_the_terminal, visible

BAD = "a\x1b]0;owned\x07\x1b[2K\rb\x7f\x9b31mc\u202emp4.\u2066d\u2028e"
SEEN = r"a\u001b]0;owned\u0007\u001b[2K\u000db\u007f\u009b31mc\u202emp4.\u2066d\u2028e"


def obeyed(text: str) -> set[str]:
    """Characters that a terminal obeys, besides the end of a line."""
    return {letter for letter in text if letter in BAD and not (letter.isascii() and letter.isprintable())}


def test_commands_are_escaped_as_json_does_and_letters_stay() -> None:
    assert visible(BAD) == SEEN and visible(SEEN) == SEEN
    assert json.loads(f'"{visible(BAD)}"') == BAD
    for text in ("Straße [1] (ü)/日本 clip.mp4", "a\tb\nc", "مرحبا", "🎬\u200d\ufe0f"):
        assert visible(text) == text


def test_a_command_prints_no_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    @command("stopped")
    def shows() -> int:
        print(BAD)
        sys.stderr.write(f"{BAD}\n")
        sys.stderr.writelines([BAD, "\n"])
        raise DecodeError(BAD)

    before = sys.stdout, sys.stderr
    assert shows() == 2 and (sys.stdout, sys.stderr) == before
    said = capsys.readouterr()
    assert said.out == f"{SEEN}\n" and said.err == f"{SEEN}\n{SEEN}\nerror: {SEEN}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [BAD],
        ["train", "--cfg", BAD],
        ["train", "--cfg", "quickstart", BAD],
        ["demo", BAD, "--run", BAD],
        ["sweep", BAD],
    ],
)
def test_an_argument_is_no_sequence_either(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse's
        code = int(end.code or 0)
    said = capsys.readouterr()
    assert code == 2 and said.err and not obeyed(said.out + said.err)


def test_log_lines_tables_and_bars_show_no_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200, markup=False, emoji=False, color_system=None)
    monkeypatch.setattr(log, "console", console)
    monkeypatch.setattr(log.sys.stderr, "isatty", lambda: True, raising=False)
    log.setup_logging(tmp_path)
    logger.warning("%s: cannot be read", BAD)
    log.show_table(BAD, ["name", "n"], [[BAD, "1"]])
    with log.progress(BAD, 1, "files") as line:
        line.advance(BAD)
        if line._bar:
            line._bar.refresh()
    assert screen.getvalue().count(SEEN) >= 4
    assert not obeyed(screen.getvalue()) - {"\x1b", "\r"}  # of the bar itself
    assert "]0;owned\x07" not in screen.getvalue() and "\x1b]0" not in screen.getvalue()
    said = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert SEEN in said and not obeyed(said)


@pytest.mark.slow
def test_a_terminal_still_gets_the_colours_of_the_log() -> None:
    main_end, terminal = pty.openpty()
    program = (
        "from videoadapt.terminal import no_commands_to_the_terminal\n"
        "with no_commands_to_the_terminal():\n"
        "    from videoadapt import log, logger\n"
        "    log.setup_logging()\n"
        f"    logger.error({BAD!r})\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], stderr=terminal, check=True, cwd=REPOSITORY,
        env=environment() | {"TERM": "xterm-256color", "COLUMNS": "200", "PYTHONUTF8": "1"},
    )  # fmt: skip
    shown = os.read(main_end, 100_000).decode()
    assert (
        SEEN in re.sub(r"\x1b\[[0-9;]*m", "", shown)
        and "\x1b[" in shown
        and "\x1b]0" not in shown
        and "\x07" not in shown
    )


def test_json_files_hold_no_sequences_and_the_same_names(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"video": BAD, "name": "日本"})
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert not obeyed(text) and "日本" in text and json.loads(text) == {"video": BAD, "name": "日本"}


COMMAND = """
import contextlib, logging, os, sys
from videoadapt import log, logger
from videoadapt.cli._command import command

@command("stopped")
def main() -> int:
    log.setup_logging()
    logger.info("a message")
    log.show_table("A", ["b"], [["c"]])
    sys.stderr.write("another\\n")
    with open(sys.argv[1], "w") as file:
        file.write("kept")
        with contextlib.suppress(OSError):
            os.write(2, b"a library's message")
    assert os.get_inheritable(0) and os.get_inheritable(1) and os.get_inheritable(2)
    print("a result")
    sys.stderr.write("the last\\n")
    return 0

sys.exit(main())
"""


def ended(folder: Path, streams: str) -> subprocess.CompletedProcess[str]:
    """Run a command with its streams redirected as the shell does; what it writes to a file must be in the file."""
    shell = ["bash", "-c", f'exec "$0" -c "$1" "$2" {streams}', sys.executable, COMMAND, str(folder / "file")]
    done = subprocess.run(shell, cwd=REPOSITORY, env=environment(), capture_output=True, text=True)
    assert (folder / "file").read_text() == "kept"
    return done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_results_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    done = ended(tmp_path, ">/dev/full")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "error: standard output: No space left on device; free some space and run the same command again\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_messages_that_cannot_be_written_end_nothing(tmp_path: Path) -> None:
    done = ended(tmp_path, "2>/dev/full")
    assert (done.returncode, done.stdout) == (0, "a result\n")


@pytest.mark.parametrize(("streams", "output"), [("2>&-", "a result\n"), (">&-", ""), ("<&- >&- 2>&-", "")])
def test_streams_that_are_closed_are_no_files_of_the_run(tmp_path: Path, streams: str, output: str) -> None:
    done = ended(tmp_path, streams)
    assert (done.returncode, done.stdout) == (0, output) and "Traceback" not in done.stderr


def test_a_terminal_that_was_closed_ends_nothing(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.close(ours)  # from now on, writing is an error of input and output
    with os.fdopen(theirs, "w") as closed:
        arguments = [sys.executable, "-c", COMMAND, str(tmp_path / "file")]
        started = {"cwd": REPOSITORY, "env": environment(), "stdout": subprocess.PIPE, "stderr": closed}
        done = subprocess.run(arguments, check=False, **started)
    assert (done.returncode, done.stdout) == (0, b"a result\n")


def test_the_streams_are_wrapped_once() -> None:
    with no_commands_to_the_terminal(), no_commands_to_the_terminal():
        assert not hasattr(sys.stdout.obeyed, "obeyed")
        logging.StreamHandler(sys.stderr).flush()
