"""Calls to submitit's executors: on Slurm, on this machine, or in this process."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from videoadapt import slurm
from videoadapt.job_files import write_submission
from videoadapt.signals import without_ctrl_c
from videoadapt.slurm import Resources


def submit(
    calls: Sequence[Callable[[], None]],
    runs: Sequence[Path],
    resources: Resources,
    code: Path | None,
    folder: Path,
    extra: Mapping[str, Any],
) -> list[submitit.Job[None]]:
    """Submit calls, several as an array, with `folder/<job id>/` for each; return submitit's handles.

    `runs` are their output folders: a job's folder that is not in `<run>/jobs` is linked there. `extra` are more options of
    sbatch. Raises ConfigError when the executor refuses.
    """
    variables: dict[str, str] = {}  # sbatch gets none: the script sets its own
    folder.mkdir(parents=True, exist_ok=True)
    if resources.executor == "slurm":
        executor: Any = slurm.slurm_executor(resources, folder / "%j", job_setup(code), extra)
    elif resources.executor == "local":
        executor = submitit.LocalExecutor(folder / "%j", max_num_timeout=resources.max_timeouts)
        executor.update_parameters(
            timeout_min=resources.minutes,
            tasks_per_node=resources.num_tasks,
            gpus_per_node=resources.gpus_per_node,
            signal_delay_s=resources.signal_delay_sec,
        )
        variables = {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
    else:
        executor = submitit.DebugExecutor(folder / "debug")
        variables = {"SUBMITIT_FOLDER": str(folder / "debug")}
    # Ctrl-C is for the tasks, which ask for it: submitit's local controller would kill them at once
    with slurm.own_environment(variables), without_ctrl_c():
        submitted = slurm.submit_array(executor, calls)
    for run, handle in zip(runs, submitted, strict=True):
        place = handle.paths.folder
        write_submission(
            place, executor=resources.executor, job_id=handle.job_id, ranks=resources.num_tasks, code=str(code)
        )
        own = run / "jobs" / place.name
        if own.resolve() != place.resolve():
            own.parent.mkdir(parents=True, exist_ok=True)
            own.symlink_to(place.resolve())
    return submitted


def job_setup(code: Path | None) -> list[str]:
    """Shell lines before the tasks start: the snapshot comes first, and the current folder is not looked into."""
    return [
        f"export PYTHONPATH='{code}'${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"',
    ]
