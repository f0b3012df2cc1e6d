"""Said before a job is submitted, so that one whose submitter is killed before it can note it is found all the same.

`<run>/jobs/.submitting.json` says into which folder jobs were about to go. It is gone once they are noted; where it is left,
the queue knows which of its jobs write there.
"""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videoadapt import logger
from videoadapt.files import as_record, write_json
from videoadapt.paths import files_in, is_file
from videoadapt.slurm import commands
from videoadapt.slurm.attempts import note_job, read_submission

_FILE = ".submitting.json"
_SKEW_SEC = 60.0  # by which the clock of a file server may differ


def announce(runs: Sequence[Path], folder: Path, **values: Any) -> None:
    """Say in each run that a job of it is about to be submitted into `folder`.

    `values` are what `note_job` will note of it, with an `id` that no other submission has.
    """
    for number, run in enumerate(runs):
        index = number if len(runs) > 1 else None
        write_json(_record_of(run), {"folder": str(folder), "index": index, "time": time.time(), "values": values})


def withdraw(runs: Sequence[Path]) -> None:
    """The jobs are noted."""
    for run in runs:
        _record_of(run).unlink(missing_ok=True)


def note_announced(run: Path) -> None:
    """Note jobs of the run that were announced and submitted, and never noted. Raises VideoAdaptError when squeue fails."""
    if not is_file(_record_of(run)):
        return
    record = as_record(_record_of(run).read_bytes(), "folder", "index", "time", "values")
    if record is None:  # of a power cut
        return
    folder = Path(record["folder"])
    for job_id in dict.fromkeys(_submitted(folder, record["time"])):
        is_ours = re.fullmatch(r"\d+" if record["index"] is None else rf"\d+_{record['index']}", job_id)
        noted = read_submission(folder / job_id)
        is_other = bool(noted) and noted.get("id") != record["values"]["id"]
        if not is_ours or is_other or is_file(run / "jobs" / job_id / "submission.json"):
            continue
        said = "it was submitted, and its submitter ended before it could note it"
        if not is_file(_program(folder, job_id)):
            said += "; what it is to run is missing, so it will fail: cancel it"
        logger.warning("%s: job %s: %s", run, job_id, said)
        try:
            note_job(run, folder / job_id, job_id=job_id, **record["values"])
        except OSError as error:  # another user's run
            logger.warning("%s: job %s: cannot be noted: %s", run, job_id, error.strerror)


def _submitted(folder: Path, since: float) -> Iterator[str]:
    """Ids of jobs that write into `folder`: of those in the queue, and of those that have got their program there."""
    yield from (job_id for job_id, output in commands.queued_outputs() if output.startswith(f"{folder}/"))
    for path in files_in(folder, "*"):
        program = _program(folder, path.name)
        if is_file(program) and program.stat().st_mtime > since - _SKEW_SEC:
            yield path.name


def _program(folder: Path, job_id: str) -> Path:
    return folder / job_id / f"{job_id}_submitted.pkl"


def _record_of(run: Path) -> Path:
    return run / "jobs" / _FILE
