"""Cells that were run before runs left an outcome.json: whether they diverged stands in their error messages only."""

import re
from pathlib import Path

from videoadapt.paths import is_file
from videoadapt.slurm.attempts import attempts, job_folders

_DIVERGED = re.compile(r"^error: step \d+: (the loss is |validation: .* not all logits are finite)", re.M)


def diverged_by_logs(folder: Path, log: Path) -> bool:
    """Whether the last run in `folder`, with its output in `log` or as a job, ended because something was not finite."""
    text = log.read_text(encoding="utf-8", errors="replace") if is_file(log) else ""
    newest_job = job_folders(folder)[-1:]
    text += "".join(attempt.failure().get("why", "") for job in newest_job for attempt in attempts(job))
    return _DIVERGED.search(text) is not None
