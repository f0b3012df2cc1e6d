"""What a job asks of Slurm, as submitit's executor for it; and what Slurm says about a job."""

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import submitit
from submitit.helpers import clean_env

from videoadapt.errors import ConfigError, VideoAdaptError

EARLY_SEC = 60  # Slurm may send the signal of --signal this much earlier than asked
_ANSWER_SEC = 60.0
_PAUSE_SEC = 2.0
OWN_PARAMETERS = {  # sbatch option -> ours
    "time": "--time", "nodes": "--nodes", "gpus-per-node": "--gpus-per-node", "ntasks-per-node": "--tasks-per-node",
    "cpus-per-task": "--cpus-per-task", "mem": "--mem", "signal": "--signal-delay",
    "array": "--array-parallelism", "job-name": "--name", "output": "the run's folder", "error": "the run's folder",
    "open-mode": "nothing: logs are appended to",
}  # fmt: skip


@dataclass(frozen=True)
class Resources:
    """Where and for how long a job runs; one task for each GPU, or `tasks_per_node` CPU tasks where `gpus_per_node` is 0."""

    executor: Literal["slurm", "local", "debug"] = "slurm"
    nodes: int = 1
    gpus_per_node: int = 0
    tasks_per_node: int = 1
    minutes: int = 60
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    signal_delay_sec: int = 120  # before the time limit; longer than the longest step, with its validation
    max_timeouts: int = 10
    array_parallelism: int = 256
    name: str = "videoadapt"
    python: str | None = None
    setup: tuple[str, ...] = ()
    slurm: Mapping[str, str | int | bool] = field(default_factory=dict)  # any option of sbatch, by its long name

    @property
    def num_tasks(self) -> int:
        """Ranks of the job."""
        return self.nodes * (self.gpus_per_node or self.tasks_per_node)

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = [
            f"--{name.replace('_', '-')} = {value}: allowed: {least} or more"
            for name, value, least in (
                ("nodes", self.nodes, 1), ("gpus_per_node", self.gpus_per_node, 0), ("signal_delay", self.signal_delay_sec, 1),
                ("tasks_per_node", self.tasks_per_node, 1), ("max_timeouts", self.max_timeouts, 0),
                ("cpus_per_task", 1 if self.cpus_per_task is None else self.cpus_per_task, 1),
                ("array_parallelism", self.array_parallelism, 1), ("mem", self.mem_gb or 0, 0),
            )
            if value < least
        ]  # fmt: skip
        if self.gpus_per_node and self.tasks_per_node != 1:
            found.append(
                f"--tasks-per-node = {self.tasks_per_node}: there is one task for each GPU; leave it out, or ask for no GPUs"
            )
        if self.executor == "slurm" and self.minutes * 60 <= self.signal_delay_sec + EARLY_SEC:
            found.append(
                f"--time = {self.minutes} min: the job is asked to stop {self.signal_delay_sec} s before its limit, and Slurm "
                f"may ask {EARLY_SEC} s earlier; give it more time, or a smaller --signal-delay"
            )
        found += [
            f"--slurm {key}: is set by {OWN_PARAMETERS[key.replace('_', '-')]}"
            for key in self.slurm
            if key.replace("_", "-") in OWN_PARAMETERS
        ]
        if self.executor != "slurm" and self.nodes > 1:
            found.append(f"--nodes = {self.nodes}: --executor {self.executor} has one node")
        if self.executor == "debug" and self.num_tasks > 1:
            found.append(f"--executor debug: is one process, not {self.num_tasks}")
        return found


def parse_minutes(text: str) -> int:
    """Minutes of a Slurm time: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS; seconds are rounded up to a minute.

    Raises ValueError for anything else, and for no time at all.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise ValueError(f"'{text}': not a time like 90, 24:00:00 or 2-12:00:00")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:  # hours first
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:  # minutes first
        hours, minutes, seconds = 0, *((*numbers, 0)[:2])
    total = int(days or 0) * 1440 + hours * 60 + minutes + -(-seconds // 60)
    if not total:
        raise ValueError(f"'{text}': no time at all")
    return total


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


class Queued(NamedTuple):
    """What squeue says of a job: "PENDING", "RUNNING", "COMPLETING"... ("" when it has forgotten it), and more."""

    state: str = ""
    left_sec: float = 0.0
    preempted: bool = False


def ask_queue(job_id: str, tries: int = 1) -> Queued | None:
    """Where a job stands; None where there is no squeue. Raises VideoAdaptError when it errs each time.

    More tries get less time each: a job that is to end has not got more.
    """
    command = ("squeue", "--noheader", "--jobs", job_id, "--Format", "State:30,TimeLeft:30,PreemptTime:30")
    problem = ""
    for number in range(tries):
        time.sleep(_PAUSE_SEC if number else 0)
        said = _run(*command, limit_sec=_ANSWER_SEC / tries)
        if said is None:
            return None
        if "Invalid job id" in said.stderr:
            return Queued()
        if not said.returncode:
            words = said.stdout.split()
            return Queued(words[0], _seconds(words[1]), words[2] != "N/A") if len(words) >= 3 else Queued()
        problem = said.stderr.strip()
    raise VideoAdaptError(f"job {job_id}: whether it still waits or runs is not known: {problem}")


def ask_accounts(job_id: str) -> str:
    """The last state that Slurm's accounting has of a job, "" where it has none."""
    said = _run("sacct", "--noheader", "--parsable2", "--allocations", "--jobs", job_id, "--format", "State")
    lines = said.stdout.split("\n") if said is not None and not said.returncode else [""]
    return lines[0].strip()


def requeue(job_id: str) -> str:
    """Ask Slurm to put a running job back into the queue; return "" or why it cannot."""
    said = _run("scontrol", "requeue", job_id)
    if said is None:
        return "scontrol is not on this node"
    return "" if said.returncode == 0 else f"scontrol requeue: {said.stderr.strip()}"


def cancel(job_id: str) -> None:
    """End a job. Raises VideoAdaptError with scancel's words when it cannot."""
    said = _run("scancel", job_id)
    if said is None or said.returncode:
        raise VideoAdaptError(f"job {job_id}: " + (said.stderr.strip() if said else "scancel is not here"))


def restart_count() -> int:
    """How often Slurm has put this job back into the queue."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _run(*command: str, limit_sec: float = _ANSWER_SEC) -> "subprocess.CompletedProcess[str] | None":
    """What a command of Slurm's says; None where there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=limit_sec)
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]}: no answer within {limit_sec:g} s")


def _seconds(text: str) -> float:
    """Seconds of squeue's [D-][[HH:]MM:]SS; infinite for UNLIMITED, 0 for what is no time."""
    if text == "UNLIMITED":
        return float("inf")
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text)
    if not match:
        return 0.0
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
