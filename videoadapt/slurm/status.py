"""How the jobs of a run are doing: their state, the last numbers, the time left, the logs; and cancelling them."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from videoadapt import logger
from videoadapt.config.yaml_files import read_yaml
from videoadapt.errors import ConfigError, VideoAdaptError, counted
from videoadapt.paths import check_regular
from videoadapt.runs.records import read_records
from videoadapt.runs.shapes import Measured, Timed
from videoadapt.slurm import commands
from videoadapt.slurm.announcement import note_announced
from videoadapt.slurm.attempts import Attempt, attempts, job_folders, read_submission

ACTIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
MAY_COME_BACK = ("PREEMPTED", "NODE_FAIL")  # the accounting also shows these for a job that is being requeued
RECENT = 20  # updates whose time is averaged


def status_lines(run: Path) -> list[str]:
    """Lines for people about the run and each of its jobs. Raises ConfigError where no job of it was submitted."""
    folders = _folders(run)
    lines = [f"{run}: {_progress(run)}"]
    for folder in folders:
        submission = read_submission(folder)
        try:
            state, left_sec = _state(folder)
        except VideoAdaptError as error:
            state, left_sec = f"UNKNOWN ({error})", 0.0
        left = f", {_duration(left_sec)} of its time left" if state == "RUNNING" and left_sec else ""
        lines.append(
            f"job {submission['job_id']} ({submission['executor']}, {counted(submission['ranks'], 'rank')}): {state}{left}"
        )
        for attempt in attempts(folder):
            lines += _attempt_lines(attempt)
        lines.append(f"  logs: {folder}/{submission['job_id']}_<rank>_log.err and .out")
    return lines


def _attempt_lines(attempt: Attempt) -> list[str]:
    record, failure, ending = attempt.read(), attempt.failure(), attempt.ending()
    hosts = ", ".join(dict.fromkeys(record.get("hosts", [])))
    moment = record.get("began", 0.0)  # lost with its file, where that was deleted while it ran
    began = time.strftime("%d %b %H:%M:%S", time.localtime(moment)) if moment else "an unknown time"
    took = f" for {_duration(record['ended'] - moment)}" if moment and "ended" in record else ""
    how = ending.message if ending else "still running, or ended without a record"
    lines = [f"  attempt {attempt.number}: from {began}{took} on {hosts}: {how}"]
    if failure:
        last = failure["why"].strip().splitlines()[-1]
        lines.append(f"    rank {failure['rank']} on {failure['host']} failed first: {last}")
    return lines


def tail(run: Path, num_lines: int) -> Iterator[str]:
    """The last lines of each rank's log of the newest job."""
    folder = _folders(run)[-1]
    paths = sorted(folder.glob("*_log.err"), key=lambda path: int(path.name.split("_")[-2]))
    if not paths:
        yield f"{folder}: no logs yet: {_state(folder)[0]}"
    for path in paths:
        yield f"==> {path}"
        check_regular(path)
        yield from path.read_text(encoding="utf-8", errors="replace").splitlines()[-max(1, num_lines) :]


def cancel(run: Path) -> list[str]:
    """End all jobs of the run that wait or run; each saves after the step at hand. Return their ids."""
    found = [(folder, job_id) for folder in _folders(run) for job_id, state in _active(folder)]
    for folder, job_id in found:
        if read_submission(folder)["executor"] == "slurm":
            commands.cancel(job_id)
        else:
            with suppress(ProcessLookupError):  # it has ended by itself meanwhile
                os.kill(int(job_id), signal.SIGTERM)
    return [job_id for _, job_id in found]


def active_jobs(run: Path) -> list[tuple[str, str]]:
    """Id and state of the run's jobs that wait or run. Raises VideoAdaptError when squeue fails."""
    note_announced(run)
    return [found for folder in job_folders(run) for found in _active(folder)]


def _active(folder: Path) -> list[tuple[str, str]]:
    state = _state(folder)[0]
    return [(read_submission(folder)["job_id"], state)] if state in ACTIVE else []


def _folders(run: Path) -> list[Path]:
    try:
        note_announced(run)
    except VideoAdaptError as error:  # what was noted can be shown all the same
        logger.warning("%s: a job may have been submitted without a note: %s", run, error)
    folders = job_folders(run)
    if not folders:
        raise ConfigError(f"{run}: no job of such a run was submitted (it has no jobs/<id>/submission.json)")
    return folders


def _state(folder: Path) -> tuple[str, float]:
    """Slurm's state of a job and the seconds left to it; a local one is RUNNING while its controller lives.

    Raises VideoAdaptError when squeue fails and the accounting knows of no end: the job may well be running.
    """
    submission = read_submission(folder)
    job_id = submission["job_id"]
    if submission["executor"] != "slurm":
        return ("RUNNING" if _is_controller(job_id, folder) else "ENDED"), 0.0
    try:
        queued = commands.ask_queue(job_id)
    except VideoAdaptError:
        known = commands.ask_accounts(job_id)
        if known in ("", *MAY_COME_BACK):
            raise
        return known, 0.0
    if queued is not None and queued.state in ACTIVE:
        return queued.state, queued.left_sec
    known = commands.ask_accounts(job_id) or (queued.state if queued else "")
    return known or "UNKNOWN (neither squeue nor sacct knows it)", 0.0


def _is_controller(job_id: str, folder: Path) -> bool:
    try:
        command = Path(f"/proc/{job_id}/cmdline").read_bytes()
    except OSError:
        return False
    return b"submitit.local._local" in command and str(folder.parent).encode() in command


def _progress(run: Path) -> str:
    """Step, last numbers, and how long training still takes at the speed of the last updates."""
    trained = [record for record in read_records(run / "metrics.jsonl", Measured) if record["kind"] == "train"]
    if not trained:
        return "no step yet"
    last = trained[-1]
    shown = f"step {last['step']}" + (f", loss {last['loss']:.4g}" if "loss" in last else "")
    shown += f", top-1 {last['top1']:.1f} %" if "top1" in last else ""
    if (run / "results.json").exists():
        return f"{shown}; tested, see results.json"
    recent: list[dict[str, Any]] = read_records(run / "timing.jsonl", Timed)[-RECENT:]
    if last["epoch"] and recent:
        steps_per_epoch = (last["step"] - 1) / last["epoch"]
        total = round(steps_per_epoch * read_yaml(run / "config.yaml")["train"]["epochs"])
        took_sec = sum(record["step_sec"] for record in recent) / len(recent)
        shown = f"{shown}; {counted(total - last['step'], 'step')} to go, about {_duration((total - last['step']) * took_sec)}"
    return shown


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "unlimited"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
