"""What a job asks of Slurm: nodes, GPUs, time; checked before anything is submitted."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

EARLY_SEC = 60  # Slurm may send the signal of --signal this much earlier than asked
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
    signal_delay_sec: int = 120  # before the time limit; longer than the longest step
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
            if not least <= value < math.inf
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
