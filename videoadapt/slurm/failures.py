"""Which rank of an attempt failed first: its error is recorded, shown in the logs of all ranks, and ends them all."""

import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from videoadapt.errors import Interrupted, VideoAdaptError
from videoadapt.processes.signals import Ended
from videoadapt.slurm.attempts import Attempt

LOOK_EVERY_SEC = 2.0
LINGER_SEC = 2 * LOOK_EVERY_SEC  # until all ranks have seen which one failed: Slurm kills them when the first ends
# until Slurm has noticed that a node is gone (SlurmdTimeout, 300 s by default) and requeues the job
LOST_RANK_SEC = 900.0


class FailureWatch:
    """One rank's view of who failed first in its attempt; `environment` is submitit's."""

    def __init__(self, attempt: Attempt, environment: Any):
        self.attempt = attempt
        self.env = environment

    def start(self) -> None:
        """From now on, end this process, blocked or not, soon after another rank has failed or a later attempt has begun.

        A later attempt begins while this one is running when a node was only out of Slurm's sight: two would write.
        """
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Record the error of the rank that fails first, before its end makes the others fail; show it in the others' logs."""
        try:
            yield
        except (Interrupted, Ended, SystemExit):
            raise
        except BaseException as error:
            self._note(error)
            raise

    def _note(self, error: BaseException) -> None:
        if self.env.name() == "slurm" and _is_lost_rank(error) and not self.attempt.failure():
            sys.stderr.write(
                f"another rank has disappeared without an error; waiting for Slurm to end or requeue the job: {error}\n"
            )
            time.sleep(LOST_RANK_SEC)
        text = f"error: {error}\n" if isinstance(error, VideoAdaptError) else traceback.format_exc()
        if self.attempt.note_failure(self.env.global_rank, text):
            sys.stderr.write(text)
            time.sleep(LINGER_SEC if self.env.num_tasks > 1 else 0)
        elif self._other_failed():
            self._show_first()

    def _watch(self) -> None:
        waiting = threading.Event()
        while not waiting.wait(LOOK_EVERY_SEC):
            with suppress(OSError):  # a file system that does not answer for a moment
                if self.attempt.replaced():
                    sys.stderr.write(f"a later attempt of job {self.env.job_id} has begun: this one leaves at once\n")
                    os._exit(1)
                if self._other_failed():
                    self._show_first()
                    os._exit(1)

    def _other_failed(self) -> bool:
        return self.attempt.failure().get("rank", self.env.global_rank) != self.env.global_rank

    def _show_first(self) -> None:
        first = self.attempt.failure()
        sys.stderr.write(f"rank {first['rank']} on {first['host']} failed first:\n{first['why']}\n")
        sys.stderr.flush()


def _is_lost_rank(error: BaseException) -> bool:
    """True for the error of a collective, which is the trace that a rank leaves that was killed, or whose host is gone.

    A port that is taken on this host is this rank's own error.
    """
    from torch.distributed import DistError

    if "EADDRINUSE" in str(error):
        return False
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and re.search("gloo|NCCL", str(error)) is not None
    )
