"""Cells of a sweep, several at a time: each is a run of its own in a process of its own, which can fail or be stopped alone."""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from videoadapt import logger
from videoadapt.errors import ConfigError, Interrupted, counted
from videoadapt.log import progress
from videoadapt.processes.lock import only_process_in, wait_until_left
from videoadapt.processes.server import CONTEXT, start_server
from videoadapt.processes.signals import killed_by, stop_on_signal, take_signals
from videoadapt.sweeps.cell import LOG, Cell
from videoadapt.sweeps.checks import check_cells
from videoadapt.sweeps.plan import Sweep
from videoadapt.system import WINDOWS, usable_cores
from videoadapt.video.cache.folder import join

_POLL_SEC = 0.5
_STOP_SEC = 10.0  # the time that a process gets after the second signal
_MAY_LEAVE_SEC = 60.0  # a cell of this sweep whose process was killed: it stops after the step at hand
# The command of a single run: takes its arguments, returns its exit code. It is handed in: sweeps know no commands.
Command = Callable[[list[str]], int]
# Imported once by the process from which all cells are forked: these imports take seconds, and a small cell not much more.
_PRELOAD = [
    "videoadapt.training.execution",
    "videoadapt.runs.confusion",
    "videoadapt.runs.curves",
    "fvcore.nn",
    "torch._dynamo",
    "torch.utils.tensorboard",
    __name__,
]


@dataclass(frozen=True)
class Slot:
    """The share of the machine for one cell: the CUDA device that it sees (None: as this process), its CPU threads."""

    device: str | None
    threads: int


def share_out(workers: int) -> list[Slot]:
    """`workers` slots, spread over the CUDA devices that this process sees and over its cores. Raises ConfigError for none."""
    if workers < 1:
        raise ConfigError(f"--workers {workers}: needs to be at least 1")
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = shown.split(",") if shown else [str(number) for number in range(torch.cuda.device_count())]
    threads = max(1, usable_cores() // workers)
    return [Slot(devices[number % len(devices)] if devices else None, threads) for number in range(workers)]


def run_sweep(sweep: Sweep, command: Command, workers: int) -> dict[str, str]:
    """Run all that is missing, choices first, `workers` at a time; return the reason for each cell that failed.

    `command` runs one cell: a function of a module, which the cells' processes can import. Raises ConfigError before
    anything runs when files are missing, or another process is running this sweep, and Interrupted when SIGINT or SIGTERM
    arrived and all cells have stopped; calling it again resumes them.
    """
    check_cells(sweep)
    for cell in sweep.cells:
        join(cell.config.data.cache)  # until the sweep ends: frames that a cell has cached are for the next cells
    sweep.folder.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    with only_process_in(sweep.folder), stop_on_signal() as stop:
        while cells := [cell for cell in sweep.missing() if cell.name not in failed]:
            failed |= run_cells(cells, command, share_out(workers), stop)
            if stop:
                raise Interrupted(
                    f"stopped with {counted(len(sweep.missing()), 'cell')} to go; run the same command again to resume",
                    stop[0],
                )
    return failed


def run_cells(cells: Sequence[Cell], command: Command, slots: Sequence[Slot], stop: Sequence[int]) -> dict[str, str]:
    """Run the cells, one in each slot at a time, until all have ended or `stop` is not empty; return why some failed."""
    waiting, idle, failed = deque(cells), list(slots), {}
    CONTEXT.set_forkserver_preload(_PRELOAD)
    start_server()
    busy: dict[BaseProcess, tuple[Cell, Slot]] = {}
    asked = False
    try:
        with progress("sweep", len(cells), "cells") as line:
            while busy or (waiting and not stop):
                while waiting and idle and not stop:
                    cell, slot = waiting.popleft(), idle.pop()
                    process = CONTEXT.Process(target=run_cell, args=(cell.arguments, cell.folder / LOG, command, slot))
                    process.start()
                    busy[process] = cell, slot
                connection.wait([process.sentinel for process in busy], _POLL_SEC)
                if stop and not asked:
                    asked = True
                    for process in busy:
                        process.terminate()
                for process in [process for process in busy if process.exitcode is not None]:
                    cell, slot = busy.pop(process)
                    idle.append(slot)
                    ended = (process.exitcode == 0 and cell.finished) or (cell.diverged and not cell.tested)
                    if not ended and not stop:  # one that was asked to stop is judged when it runs again
                        failed[cell.name] = _why(cell, process.exitcode or 0)
                        logger.error("%s: %s", cell.name, failed[cell.name])
                    line.advance(f"{cell.name}{' failed' if cell.name in failed else ''}")
    finally:
        for process in busy:  # a second signal: they stop at once
            process.terminate()
        for process in busy:
            process.join(_STOP_SEC)
            process.kill()
    return failed


def run_cell(arguments: list[str], log: Path, command: Command, slot: Slot) -> None:
    """In a process of its own: run `command`, with all its output in `log`, and exit with its code.

    The process leaves the group of the sweep's, so that one Ctrl-C is one signal, and stops when the sweep's is gone.
    """
    if not WINDOWS:
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that came before was for the sweep, which tells its cells
    take_signals()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log.parent.mkdir(parents=True, exist_ok=True)
    wait_until_left(log.parent, _MAY_LEAVE_SEC)
    with log.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    if slot.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.device
    torch.set_num_threads(slot.threads)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    sys.argv = [command.__module__, *arguments]  # outcome.json shows it
    sys.exit(command(arguments))


def _stop_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _why(cell: Cell, exitcode: int) -> str:
    """How a cell's process ended, its last error line, and where the rest is."""
    log = cell.folder / LOG
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    last = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")
    ended = killed_by(-exitcode) if exitcode < 0 else f"exit code {exitcode}"
    return f"{ended}; {last.removeprefix('error: ') or 'no output'} (full log: {log})"
