"""Submits the missing cells of a sweep to Slurm as one job array."""

import submitit

from videoadapt.slurm.resources import Resources
from videoadapt.slurm.status import active_jobs
from videoadapt.slurm.submission import submit_runs
from videoadapt.sweeps.cell import Cell
from videoadapt.sweeps.checks import check_cells
from videoadapt.sweeps.plan import Sweep


def submit_sweep(sweep: Sweep, resources: Resources) -> tuple[list[tuple[Cell, submitit.Job[None]]], list[Cell]]:
    """Submit the missing cells as one array; return them with submitit's handles, and those that were queued before.

    Cells that depend on a choice are missing only once it is made. Raises ConfigError as `submit_runs` does.
    """
    check_cells(sweep, here=resources.executor != "slurm")
    missing = sweep.missing()
    queued = [cell for cell in missing if active_jobs(cell.folder)]
    cells = [cell for cell in missing if cell not in queued]
    if not cells:
        return [], queued
    jobs = submit_runs([cell.as_run for cell in cells], resources, sweep.folder / "jobs")
    return list(zip(cells, jobs, strict=True)), queued
