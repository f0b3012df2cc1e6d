"""Processes that render files end with the one that asked for them, and leave nothing half-written behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live_runs import descendants, is_gone
from tests.toy_runs import REPOSITORY, environment
from videoadapt.files import PARTIAL
from videoadapt.rendering.files import ClipFile, render_missing

PROGRAM = """
import os
from pathlib import Path
from videoadapt.rendering import files
os.sched_getaffinity = lambda _: {0, 1}
if __name__ == "__main__":
    files.render_missing([files.ClipFile(Path("FOLDER") / f"{n}.mp4", "left", n) for n in range(100_000)], "endless")
"""


@pytest.mark.slow
def test_no_renderer_outlives_a_killed_parent(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("FOLDER", str(tmp_path / "films")))
    with subprocess.Popen([sys.executable, str(program)], cwd=REPOSITORY, env=environment()) as process:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "films").glob("*.mp4")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        below = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while left := [pid for pid in below if not is_gone(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_halves_of_killed_renderers_are_removed(tmp_path: Path) -> None:
    (tmp_path / f".0.mp4.77{PARTIAL}").write_bytes(b"half")
    render_missing([ClipFile(tmp_path / "0.mp4", "left", 0)], "one")
    assert [path.name for path in tmp_path.iterdir()] == ["0.mp4"]
