"""What a job asks of Slurm, as submitit's executor for it; and what Slurm says about a job."""

import os
import re
import subprocess
import time
from typing import NamedTuple

from videoadapt.errors import VideoAdaptError

_ANSWER_SEC = 60.0
_PAUSE_SEC = 2.0


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
