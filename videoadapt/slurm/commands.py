"""Slurm's commands: what squeue and sacct know of a job, and requeueing or cancelling it."""

import os
import re
import subprocess
import time
from contextlib import suppress
from typing import NamedTuple

from videoadapt.errors import VideoAdaptError
from videoadapt.system import user_number

_ANSWER_SEC = 60.0
_PAUSE_SEC = 2.0


class QueueEntry(NamedTuple):
    """squeue's entry of a job; its state is "PENDING", "RUNNING", "COMPLETING"..., "" when squeue has forgotten it."""

    state: str = ""
    left_sec: float = 0.0
    preempted: bool = False


def ask_queue(job_id: str, tries: int = 1) -> QueueEntry | None:
    """A job's entry in the queue; None where there is no squeue. Raises VideoAdaptError when squeue fails each time.

    All tries together take a minute at most, for a job that is about to end.
    """
    command = ("squeue", "--noheader", "--jobs", job_id, "--Format", "State:30,TimeLeft:30,PreemptTime:30")
    problem = ""
    for number in range(tries):
        time.sleep(_PAUSE_SEC if number else 0)
        answer = _run(*command, limit_sec=_ANSWER_SEC / tries)
        if answer is None:
            return None
        if "Invalid job id" in answer.stderr:
            return QueueEntry()
        if not answer.returncode:
            words = answer.stdout.split()
            return QueueEntry(words[0], _seconds(words[1]), words[2] != "N/A") if len(words) >= 3 else QueueEntry()
        problem = answer.stderr.strip()
    raise VideoAdaptError(f"job {job_id}: cannot find out whether it still waits or runs: {problem}")


def queued_outputs() -> list[tuple[str, str]]:
    """Id, and pattern of the file for stdout, of this user's jobs in the queue; none where there is no squeue.

    A task of an array has an id of its own, 7_0. Raises VideoAdaptError when squeue fails.
    """
    answer = _run("squeue", "--noheader", "--array", f"--user={user_number()}", "--Format", "JobArrayID:60,StdOut:4096")
    if answer is None:
        return []
    if answer.returncode:
        raise VideoAdaptError(f"cannot find out which jobs wait or run: {answer.stderr.strip()}")
    rows = (line.strip().split(maxsplit=1) for line in answer.stdout.splitlines())
    return [(row[0], row[1]) for row in rows if len(row) == 2]


def ask_accounts(job_id: str) -> str:
    """The last state that Slurm's accounting has of a job, "" where it has none."""
    answer = _run("sacct", "--noheader", "--parsable2", "--allocations", "--jobs", job_id, "--format", "State")
    lines = answer.stdout.split("\n") if answer is not None and not answer.returncode else [""]
    return lines[0].strip()


def requeue(job_id: str, tries: int = 3) -> str:
    """Ask Slurm to put a running job back into the queue; return "" or why it cannot, after a minute at most.

    Where the answer got lost and not the request, the queue shows that the job is no longer running.
    """
    problem = ""
    for number in range(tries):
        time.sleep(_PAUSE_SEC if number else 0)
        answer = _run("scontrol", "requeue", job_id, limit_sec=_ANSWER_SEC / tries)
        if answer is None:
            return "scontrol is not on this node"
        if answer.returncode == 0:
            return ""
        problem = f"scontrol requeue: {answer.stderr.strip()}"
        with suppress(VideoAdaptError):
            entry = ask_queue(job_id)
            if entry is not None and entry.state in ("PENDING", "REQUEUED", "COMPLETING"):
                return ""
    return problem


def cancel(job_id: str) -> None:
    """End a job. Raises VideoAdaptError with scancel's message when it cannot."""
    answer = _run("scancel", job_id)
    if answer is None or answer.returncode:
        problem = answer.stderr.strip() if answer else "scancel is not on this machine"
        raise VideoAdaptError(f"job {job_id}: {problem}")


def restart_count() -> int:
    """How often Slurm has put this job back into the queue."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _run(*command: str, limit_sec: float = _ANSWER_SEC) -> "subprocess.CompletedProcess[str] | None":
    """The output of one of Slurm's commands; None where there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=limit_sec)
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]}: no answer within {limit_sec:g} s")


def _seconds(text: str) -> float:
    """Seconds of squeue's [D-][[HH:]MM:]SS; infinite for UNLIMITED, 0 for anything that is no time."""
    if text == "UNLIMITED":
        return float("inf")
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text)
    if not match:
        return 0.0
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
