"""Submits calls through submitit: to Slurm, to this machine, or to this process."""

import os
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import clean_env

from videoadapt.errors import ConfigError
from videoadapt.processes.signals import without_ctrl_c
from videoadapt.slurm.announcement import announce, withdraw
from videoadapt.slurm.attempts import note_job
from videoadapt.slurm.resources import Resources


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
    folder.mkdir(parents=True, exist_ok=True)
    executor, variables = _executor_for(resources, code, folder, extra)
    values = {
        "id": secrets.token_hex(8), "executor": resources.executor, "ranks": resources.num_tasks, "code": str(code),
    }  # fmt: skip
    if resources.executor == "slurm":
        announce(runs, folder, **values)
    # Ctrl-C is for the tasks, which ask for it: submitit's local controller would kill them at once
    with _own_environment(variables), without_ctrl_c():
        submitted = _submit_array(executor, calls)
    for run, job in zip(runs, submitted, strict=True):
        note_job(run, job.paths.folder, job_id=job.job_id, **values)
    withdraw(runs)
    return submitted


def batch_script(resources: Resources, code: Path, folder: Path, num_calls: int) -> str:
    """The script that sbatch would get for so many calls, on a machine with or without Slurm."""
    executor = _slurm_executor(resources, code, folder, {})
    if num_calls > 1:
        executor.parameters["map_count"] = num_calls
    return executor.script()


def _executor_for(
    resources: Resources, code: Path | None, folder: Path, extra: Mapping[str, Any]
) -> tuple[Any, dict[str, str]]:
    """Submitit's executor, and variables for the environment that it starts the tasks in."""
    if resources.executor == "slurm":
        return _slurm_executor(resources, code, folder, extra), {}  # the script sets its own
    if resources.executor == "debug":
        return submitit.DebugExecutor(folder / "debug"), {"SUBMITIT_FOLDER": str(folder / "debug")}
    executor = submitit.LocalExecutor(folder / "%j", max_num_timeout=resources.max_timeouts)
    executor.update_parameters(
        timeout_min=resources.minutes,
        tasks_per_node=resources.num_tasks,
        gpus_per_node=resources.gpus_per_node,
        signal_delay_s=resources.signal_delay_sec,
    )
    return executor, {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}


class _Slurm(submitit.SlurmExecutor):
    """submitit's executor, which can also show its script on a machine without Slurm.

    A SIGUSR2 that comes while a task starts, which takes long on a network file system, waits until the task can obey it:
    it would kill it, and the job count as failed.
    """

    @classmethod
    def affinity(cls) -> int:
        return 2

    @property
    def _submitit_command_str(self) -> str:
        start = (
            "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); "
            "from submitit.core.submission import submitit_main; submitit_main()"
        )
        return f"{self.python} -u -c {shlex.quote(start)} {shlex.quote(str(self.folder))}"

    def script(self) -> str:
        return self._make_submission_file_text(self._submitit_command_str, "")


def _slurm_executor(resources: Resources, code: Path | None, folder: Path, extra: Mapping[str, Any]) -> _Slurm:
    executor = _Slurm(folder / "%j", max_num_timeout=resources.max_timeouts, python=resources.python)
    cpus = [] if resources.cpus_per_task is None else [f"--cpus-per-task={resources.cpus_per_task}"]
    setup = [  # the snapshot comes first, and Python does not search the current folder
        f"export PYTHONPATH='{code}'${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"',
    ]
    executor.update_parameters(
        job_name=resources.name,
        time=resources.minutes,
        nodes=resources.nodes,
        ntasks_per_node=resources.gpus_per_node or resources.tasks_per_node,
        **({"gpus_per_node": resources.gpus_per_node} if resources.gpus_per_node else {}),
        **({"cpus_per_task": resources.cpus_per_task} if resources.cpus_per_task else {}),
        **({"mem": f"{round(resources.mem_gb * 1024)}M"} if resources.mem_gb is not None else {}),
        signal_delay_s=resources.signal_delay_sec,
        array_parallelism=resources.array_parallelism,
        setup=[*resources.setup, *setup],
        # srun has not inherited --cpus-per-task from sbatch since 22.05; one rank's end is the end of all
        srun_args=["--kill-on-bad-exit=1", "--open-mode=append", *cpus],
        additional_parameters={key.replace("-", "_"): value for key, value in {**resources.slurm, **extra}.items()},
    )
    return executor


def _submit_array(executor: Any, calls: Sequence[Callable[[], Any]]) -> list[submitit.Job[Any]]:
    """Submit the calls, several of them as one job array. Raises ConfigError with sbatch's message when it refuses."""
    if isinstance(executor, _Slurm) and (shutil.which("sbatch") is None or shutil.which("srun") is None):
        raise ConfigError(
            "sbatch and srun are not on this machine: submit from a login node of the cluster, or use --executor local"
        )
    try:
        jobs: list[submitit.Job[Any]] = executor.submit_array(calls)
    except submitit.core.utils.FailedJobError as error:
        lines = [line for line in str(error).splitlines() if line.startswith("sbatch:")]
        raise ConfigError("Slurm refuses the job: " + ("\n".join(lines) or str(error))) from error
    return jobs


@contextmanager
def _own_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Without what an outer job or torchrun has left in the environment, which sbatch would pass on; with `variables`."""
    cluster = {name: os.environ[name] for name in ("SLURM_CONF", "SLURM_CONF_SERVER") if name in os.environ}
    with clean_env(), submitit.helpers.environment_variables(**cluster, **variables):
        yield
