"""Calls to submitit's executors: on Slurm, on this machine, or in this process."""

import os
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
from videoadapt.slurm.attempts import write_submission
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
    variables: dict[str, str] = {}  # sbatch gets none: the script sets its own
    folder.mkdir(parents=True, exist_ok=True)
    if resources.executor == "slurm":
        executor: Any = slurm_executor(resources, folder / "%j", job_setup(code), extra)
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
    with own_environment(variables), without_ctrl_c():
        submitted = submit_array(executor, calls)
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


def slurm_executor(resources: Resources, folder: Path, setup: Sequence[str], extra: Mapping[str, Any]) -> _Slurm:
    """The executor for `resources`; `setup` are shell lines, `extra` further options of sbatch."""
    executor = _Slurm(folder, max_num_timeout=resources.max_timeouts, python=resources.python)
    cpus = [] if resources.cpus_per_task is None else [f"--cpus-per-task={resources.cpus_per_task}"]
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


@contextmanager
def own_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Without what an outer job or torchrun has left in the environment, which sbatch would pass on; with `variables`."""
    kept = {
        name: os.environ[name] for name in ("SLURM_CONF", "SLURM_CONF_SERVER") if name in os.environ
    }  # which cluster
    with clean_env(), submitit.helpers.environment_variables(**kept, **variables):
        yield


def submit_array(executor: Any, calls: Sequence[Callable[[], Any]]) -> list[submitit.Job[Any]]:
    """Submit the calls, several of them as one job array. Raises ConfigError with sbatch's words when it refuses."""
    if isinstance(executor, _Slurm) and (shutil.which("sbatch") is None or shutil.which("srun") is None):
        raise ConfigError(
            "sbatch and srun are not here: submit from a login node of the cluster, or use --executor local"
        )
    try:
        jobs: list[submitit.Job[Any]] = executor.submit_array(calls)
    except submitit.core.utils.FailedJobError as error:
        said = [line for line in str(error).splitlines() if line.startswith("sbatch:")]
        raise ConfigError("Slurm refuses the job: " + ("\n".join(said) or str(error))) from error
    return jobs
