"""Runs in processes of their own, that a test may signal or kill at a step."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import forked
from tests.toy_runs import command, environment, records
from videoadapt.system import lock
from videoadapt.video.cache.folder import MEMORY


@contextmanager
def start(config: Path, *overrides: str, ranks: int = 1) -> Iterator[forked.Forked]:
    """A run in a session of its own, ended with the block whatever happens in it."""
    with open(os.devnull, "r+b") as nothing:
        process = forked.start(command(config, *overrides, ranks=ranks), environment(), nothing.fileno())
    try:
        yield process
    finally:
        if process.poll() is None:
            for pid in (process.pid, *descendants(process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait(timeout=60)


def wait_for_step(process: "forked.Forked | subprocess.Popen[str]", output: Path, step: int) -> None:
    """Return once the record of `step` is in metrics.jsonl."""
    metrics, deadline = output / "metrics.jsonl", time.monotonic() + 600
    while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
        assert time.monotonic() < deadline and process.poll() is None, f"the run did not reach step {step}"
        time.sleep(0.005)


def not_before(output: Path, step: int) -> int:
    """`step`, or the first one after those that were recorded: only a run that has resumed comes to it."""
    return max([step, *(record["step"] + 1 for record in records(output))])


def stop_after(config: Path, output: Path, step: int, how: signal.Signals, *overrides: str, ranks: int = 1) -> int:
    """Start a run, signal all its processes once it has recorded `step`, return the exit code when all have ended."""
    step = not_before(output, step)
    with start(config, *overrides, ranks=ranks) as process:
        wait_for_step(process, output, step)
        pids = [process.pid, *(descendants(process.pid) if ranks > 1 else ())]
        for pid in pids:  # torchrun, which gives ranks new sessions, first: it would see one of them die
            with suppress(ProcessLookupError):  # gone with the group of one before it
                os.killpg(pid, how) if os.getpgid(pid) == pid else os.kill(pid, how)
        code, deadline = process.wait(timeout=300), time.monotonic() + 60
        while not all(map(is_gone, pids)):  # torchrun may be gone before a killed rank has let go of the run's folder
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return code


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, the children first."""
    try:
        children = [int(name) for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended since its parent was asked
        return []
    return [*children, *(deeper for child in children for deeper in descendants(child))]


def is_gone(pid: int) -> bool:
    """True when the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return True


def memory_is_given_back() -> bool:
    """Whether no frames are kept in memory; True as well while another run of this user, perhaps of another test, is on."""
    with (MEMORY / ".users").open("rb") as users:
        try:
            lock(users.fileno())
        except BlockingIOError:
            return True
        return not list(MEMORY.glob("*/*.npy"))
