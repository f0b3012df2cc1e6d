"""The server that all other processes are forked from, where Python's own would not start."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.toy_runs import environment

STARTS = """
import tempfile
from videoadapt.processes.server import CONTEXT, start

if __name__ == "__main__":
    process = CONTEXT.Process(target=print, args=("it runs",), daemon=True)
    start(process)
    process.join()
    print(process.exitcode, tempfile.gettempdir())
"""


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A folder with a short name."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


@pytest.mark.parametrize("length", [70, 76, 200])
def test_it_starts_where_tmpdir_is_too_long_for_a_socket(length: int, short_folder: str, tmp_path: Path) -> None:
    """In jobs of a cluster, say: a socket's name has 107 bytes, and Python puts the server's below $TMPDIR."""
    folder = Path(short_folder) / ("x" * (length - len(short_folder) - 1))
    folder.mkdir()
    (tmp_path / "starts.py").write_text(STARTS)
    done = subprocess.run(
        [sys.executable, "starts.py"],
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == f"it runs\n0 {folder}\n", done.stderr


SAYS = """
import os
from videoadapt.processes.worker import map_in_processes
from videoadapt.paths import with_home

if __name__ == "__main__":
    before = dict(os.environ)
    print(list(map_in_processes(with_home, ["/a"], 1, 60.0)), dict(os.environ) == before)
"""


def test_files_in_the_current_folder_are_not_imported(tmp_path: Path) -> None:
    """Such as a clone of another version, where the command of this one is called: its readers would be the other's."""
    (tmp_path / "says.py").write_text(SAYS)
    there = tmp_path / "there"
    for name in ("videoadapt/__init__.py", "queue.py"):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text(f"raise SystemExit({name!r})")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "says.py")],
        cwd=there,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "[(0, '/a')] True\n", done.stderr
