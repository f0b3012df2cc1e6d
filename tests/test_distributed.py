"""A process that was one of several ends as quietly as one alone."""

import subprocess
import sys

import pytest

from tests.toy_runs import REPOSITORY, environment
from videoadapt import distributed

PROGRAM = """
from pathlib import Path
import torch
from videoadapt.distributed import process_group

def threads():
    return [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]

with process_group():
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))
    model(torch.ones(2, 3)).sum().backward()
    assert "pt_gloo_runloop" in threads()
    del model
assert "pt_gloo_runloop" not in threads(), threads()
"""


@pytest.mark.slow
def test_no_thread_of_a_group_outlives_it() -> None:
    """gloo's threads are what made one rank of many runs abort at its end, when the other still wrote its report."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = subprocess.run(
        [*command, sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY, env={**environment(), "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_error_of_the_first_rank_lets_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait until it has left the block, by whatever way."""
    met: list[str] = []
    monkeypatch.setattr(distributed, "barrier", lambda: met.append("here"))
    with pytest.raises(OSError, match="no space"), distributed.main_process_first():
        raise OSError("no space")
    assert met == ["here"]
