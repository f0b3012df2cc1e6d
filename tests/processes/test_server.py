"""The server that all other processes are forked from, where Python's own would not start."""

import subprocess
import sys
from pathlib import Path

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


def test_it_starts_where_tmpdir_is_too_long_for_a_socket(tmp_path: Path) -> None:
    """In jobs of a cluster, say: a socket's name has 107 bytes, and Python puts the server's below $TMPDIR."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (tmp_path / "starts.py").write_text(STARTS)
    done = subprocess.run(
        [sys.executable, "starts.py"],
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == f"it runs\n0 {folder}\n", done.stderr
