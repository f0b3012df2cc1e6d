"""Sweeps as a user starts, stops, kills and repeats them: real processes, real signals."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.live_runs import memory_is_given_back
from tests.toy_runs import REPOSITORY, assert_same_run, environment, records, run
from videoadapt.cli import train
from videoadapt.errors import ConfigError
from videoadapt.processes.lock import only_process_in
from videoadapt.runs import feeds
from videoadapt.sweeps import runner
from videoadapt.sweeps.cell import LOG, Cell
from videoadapt.sweeps.checks import check_cells
from videoadapt.sweeps.plan import Sweep
from videoadapt.sweeps.runner import run_sweep, share_out

SMOKE = REPOSITORY / "configs" / "sweeps" / "smoke.yaml"
TIMEOUT_SEC = 600  # on a busy machine

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts sweeps in a session of their own, and ends them, and so their cells, when a test fails half-way."""
    started: list[subprocess.Popen[str]] = []

    def start_sweep(cfg: Path, *overrides: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "tools/sweep.py", "--cfg", str(cfg), "--workers", "2", *overrides]
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start_sweep
    for process in started:
        process.kill()


def wait_for(what: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    deadline = time.monotonic() + TIMEOUT_SEC
    while not what():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def any_running(folder: Path) -> bool:
    """Whether a process holds the lock of any cell."""
    for lock in folder.glob("cells/*/*/.lock"):
        try:
            with only_process_in(lock.parent):
                pass
        except ConfigError:
            return True
    return False


def test_workers_share_devices_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [(slot.device, slot.threads) for slot in share_out(3)] == [("2", 2), ("5", 2), ("2", 2)]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert [(slot.device, slot.threads) for slot in share_out(16)] == [(None, 1)] * 16
    with pytest.raises(ConfigError, match="--workers 0"):
        share_out(0)


@pytest.mark.slow
def test_ctrl_c_stops_all_cells_and_the_same_command_resumes(start: Start, tmp_path: Path) -> None:
    # so many that cells still train when the sweep, which looks twice a second, tells them to stop
    overrides = ["output", str(tmp_path / "out"), "data.root", str(tmp_path / "clips"), "train.epochs", "10"]
    first = start(SMOKE, *overrides)
    training = [cell.folder for cell in Sweep(SMOKE, overrides).missing()[2:]]
    wait_for(lambda: any(len(records(f)) > 1 for f in training if (f / "metrics.jsonl").exists()), first)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    _, said = first.communicate(timeout=TIMEOUT_SEC)
    assert first.returncode == 130 and "run the same command again to resume" in said and "failed" not in said
    assert not any_running(tmp_path / "out")
    logs = [(cell.folder / LOG).read_text() for cell in Sweep(SMOKE, overrides).cells if (cell.folder / LOG).exists()]
    assert any("stopped at step" in log for log in logs) and not any("Traceback" in log for log in logs)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/cells/*/*/adapter.safetensors")}
    assert finished

    second = start(SMOKE, *overrides)
    table, said = second.communicate(timeout=TIMEOUT_SEC)
    assert second.returncode == 0, said
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in lines] == [10] * 4 + [4] * 4, table  # results, and what chose the rates
    assert memory_is_given_back()
    plan = Sweep(SMOKE, overrides)
    assert plan.missing() == [] and len(list((tmp_path / "out" / "cells").glob("*/*"))) == 4 + 2
    unchosen = [
        cell for cell in plan.cells if (cell.folder / LOG).exists() and not (cell.folder / "results.json").exists()
    ]
    assert len(unchosen) == 2 and all(cell.seed == 0 for cell in unchosen)  # never tested
    for path in finished:  # those that were finished and not chosen were left alone
        assert path.stat().st_mtime_ns == finished[path] or (path.parent / "results.json").exists()
    stopped = next(cell for cell in plan.cells if cell.folder in training and (cell.folder / "results.json").exists())
    by_hand = tmp_path / "by_hand"
    run(stopped.base, *stopped.arguments[2:], f"output={by_hand}")
    assert_same_run(stopped.folder, by_hand)


def test_missing_weights_are_named_before_anything_runs(tmp_path: Path) -> None:
    trunk = tmp_path / "trunk.safetensors"
    overrides = ["output", str(tmp_path / "out"), "data.root", str(tmp_path / "clips"), "model.weights", str(trunk)]
    with pytest.raises(ConfigError, match=f"model.weights = {re.escape(str(trunk))}: there is no such file"):
        check_cells(Sweep(SMOKE, overrides))
    assert not (tmp_path / "out").exists()


def trained_at(rates: object, tmp_path: Path) -> Path:
    """A sweep over rates or batch sizes, without a choice."""
    raw = yaml.safe_load(SMOKE.read_text())
    raw |= {"base": str(REPOSITORY / "configs" / "quickstart.yaml"), "output": str(tmp_path / "out"), "seeds": [0]}
    del raw["select"]
    raw["set"] |= {"data.root": str(tmp_path / "clips"), "model.adapter.bottleneck": 2}
    raw["axes"] = {"how": rates}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path / "s.yaml"


def test_a_batch_too_large_is_named_before_anything_runs(tmp_path: Path) -> None:
    sweep = Sweep(trained_at({"wrong": {"train.batch_size": 4096}, "right": {"train.batch_size": 8}}, tmp_path))
    with pytest.raises(
        ConfigError, match=r"how wrong, seed 0: train\.batch_size = 4096: data\.train has only 32"
    ) as error:
        check_cells(sweep)
    assert len(error.value.problems) == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cell_that_fails_is_listed_and_blocks_no_other(start: Start, tmp_path: Path) -> None:
    rates = {"wrong": 1e30, "right": 1e-3}
    cfg = trained_at({name: {"optim.lr_per_256": rate, "train.epochs": 4} for name, rate in rates.items()}, tmp_path)
    process = start(cfg)
    out, said = process.communicate(timeout=TIMEOUT_SEC)
    log = tmp_path / "out" / "cells" / "how=wrong" / "seed=0" / LOG
    assert process.returncode == 2
    assert re.search(r"how wrong, seed 0: exit code 2; step \d+: validation: val/.*not all logits are finite", said)
    assert str(log) in said and "not all logits are finite" in log.read_text()
    assert out.count("\n| right |") == 1 and "wrong" not in out
    assert [cell.settings["how"] for cell in Sweep(cfg).missing()] == ["wrong"]


def long_cells(tmp_path: Path) -> list[str]:
    """Cells that train for longer than a test; a killed sweep's would leave frames in memory, which another test looks at."""
    epochs = ["train.epochs", "500", "data.cache", "off"]
    return ["output", str(tmp_path / "out"), "data.root", str(tmp_path / "clips"), *epochs]


def two_running_cells(start: Start, tmp_path: Path) -> tuple["subprocess.Popen[str]", list[Cell]]:
    """A sweep of which the first two cells train."""
    process = start(SMOKE, *long_cells(tmp_path))
    cells = Sweep(SMOKE, long_cells(tmp_path)).missing()[:2]
    wait_for(lambda: all((cell.folder / "metrics.jsonl").exists() and records(cell.folder) for cell in cells), process)
    return process, cells


@pytest.mark.slow
def test_a_signal_for_all_processes_stops_all_cells(start: Start, tmp_path: Path) -> None:
    process, cells = two_running_cells(start, tmp_path)
    pids = [int((cell.folder / ".lock").read_text().split()[0]) for cell in cells]
    os.kill(pids[0], signal.SIGSTOP)  # slow to stop
    os.killpg(process.pid, signal.SIGTERM)  # as a service manager does, to the cells as well
    for pid in pids:
        with suppress(ProcessLookupError):  # the sweep has told its cells as well
            os.kill(pid, signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=5)  # the sweep waits for its cells
    os.kill(pids[0], signal.SIGCONT)
    _, said = process.communicate(timeout=TIMEOUT_SEC)
    assert process.returncode == 130 and "stopped with 4 cells to go" in said and "failed" not in said, said
    assert not any_running(tmp_path / "out")
    # the sweep's own signal, the second, may come when all is saved and only the last word is missing
    for cell in cells:
        assert "SIGTERM: stopping after this step" in (cell.folder / LOG).read_text()
        assert list((cell.folder / "checkpoints").glob("step_*.pt"))


@pytest.mark.slow
def test_cells_stop_when_the_sweep_is_killed(start: Start, tmp_path: Path) -> None:
    process, cells = two_running_cells(start, tmp_path)
    assert any_running(tmp_path / "out")
    process.kill()
    process.communicate(timeout=TIMEOUT_SEC)
    wait_for(lambda: not any_running(tmp_path / "out"))
    for cell in cells:
        assert "stopped at step" in (cell.folder / LOG).read_text()
        assert list((cell.folder / "checkpoints").glob("step_*.pt"))


@pytest.mark.slow
def test_cells_of_a_killed_sweep_are_waited_for(start: Start, tmp_path: Path) -> None:
    """They stop after the step at hand; those of the next sweep were refused, and had emptied their logs by then."""
    process, cells = two_running_cells(start, tmp_path)
    pid = int((cells[0].folder / ".lock").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)  # slow to stop
    process.kill()
    process.wait(timeout=TIMEOUT_SEC)  # and no longer: the cell has its pipes
    again = start(SMOKE, *long_cells(tmp_path))
    assert again.stderr is not None
    try:
        for line in again.stderr:
            assert "another run is using" not in line
            if f"waiting for process {pid} on " in line:
                break
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: "resuming from" in (cells[0].folder / LOG).read_text(), again)
    os.killpg(again.pid, signal.SIGTERM)
    _, said = again.communicate(timeout=TIMEOUT_SEC)
    assert again.returncode == 130 and "failed" not in said, said


def test_a_sweep_that_runs_is_not_run_beside_itself(tmp_path: Path) -> None:
    sweep = Sweep(trained_at({"small": {"train.batch_size": 4}, "large": {"train.batch_size": 8}}, tmp_path))
    sweep.folder.mkdir()
    with only_process_in(sweep.folder), pytest.raises(ConfigError, match="another run is using this folder"):
        run_sweep(sweep, train.main, 1)
    assert not (sweep.folder / "cells").exists()


@pytest.mark.parametrize("name", [*runner._PRELOAD, *feeds._PRELOAD])
def test_what_is_imported_ahead_is_there(name: str) -> None:
    """Python's fork server says nothing of a module that it does not find, and each cell would import it again."""
    assert find_spec(name) is not None
