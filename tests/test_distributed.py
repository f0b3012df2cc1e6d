"""A process that was one of several ends as quietly, and as surely, as one alone."""

import subprocess
import sys

import pytest

from tests.toy_runs import REPOSITORY, environment
from videoadapt import distributed

PROGRAM = r"""
import atexit
import os
from pathlib import Path
import torch
from videoadapt.distributed import process_group

def threads():
    return [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]

def at_the_end():
    os.write(1, b"threads\n" if "pt_gloo_runloop" in threads() else b"none\n")  # at once, as the other rank writes as well

atexit.register(at_the_end)  # the first that is registered is called last
with process_group():
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))
    model(torch.ones(2, 3)).sum().backward()
del model
assert "pt_gloo_runloop" in threads()
"""


@pytest.mark.slow
def test_a_group_is_gone_at_the_end_and_not_before() -> None:
    """Its threads made a process abort whose end they outlived; one that dropped it with its model waited for them for ever."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = subprocess.run(
        [*command, sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY, env={**environment(), "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "none\nnone\n"), done.stderr


def test_an_error_of_the_first_rank_lets_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait until it has left the block, by whatever way."""
    met: list[str] = []
    monkeypatch.setattr(distributed, "barrier", lambda: met.append("here"))
    with pytest.raises(OSError, match="no space"), distributed.main_process_first():
        raise OSError("no space")
    assert met == ["here"]
