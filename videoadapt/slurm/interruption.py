"""What becomes of a job that a signal has stopped: requeued, submitted again as another job, or left alone."""

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

from videoadapt.errors import VideoAdaptError
from videoadapt.slurm import commands
from videoadapt.slurm.attempts import Attempt, Ending, How, attempts
from videoadapt.slurm.resources import EARLY_SEC, Resources

LOCAL_RETRIES = 5  # how often submitit's local controller starts tasks again


@dataclass(frozen=True)
class Stop:
    """A signal that has stopped a run, after `step` updates where it was training."""

    number: int
    step: int | None = None

    def __str__(self) -> str:
        where = "" if self.step is None else f" at step {self.step}"
        return f"stopped{where} by {signal.Signals(self.number).name}"


@dataclass(frozen=True)
class StoppedJob:
    """What the decision about a stopped job depends on, and how to submit it again after so many time limits."""

    attempt: Attempt
    resources: Resources
    job_id: str
    earlier_timeouts: int  # time limits that jobs before this one have reached
    resubmit: Callable[[int], str]  # number of time limits -> id of the new job; raises VideoAdaptError

    def end_locally(self, stop: Stop) -> Ending:
        """For submitit's local executor: it signals SIGUSR2 at the time limit, and starts tasks again that ask for it."""
        if stop.number != signal.SIGUSR2:
            return Ending(How.STOPPED, str(stop))
        limit = min(self.resources.max_timeouts, LOCAL_RETRIES)
        if self._timeouts() + 1 > limit:
            return _too_often(stop, limit)
        return Ending(How.TIMED_OUT, f"{stop} (time limit); requeued", requeued=True)

    def end_on_slurm(self, stop: Stop) -> Ending:
        """Ask Slurm what the signal meant, and requeue the job unless it was stopped on purpose."""
        self.attempt.end(Ending(How.STOPPED, str(stop)))  # in case Slurm kills this process before it answers
        try:
            entry = commands.ask_queue(self.job_id, tries=3)
        except VideoAdaptError as error:
            return Ending(How.STOPPED, f"{stop}; cannot be requeued: {error}; submit the run again")
        if entry is None:
            problem = f"squeue is not on {socket.gethostname()}"
            return Ending(How.STOPPED, f"{stop}; cannot be requeued: {problem}; submit the run again")
        if entry.state != "RUNNING":  # scancel, or requeued by someone else
            return Ending(How.ENDED_BY_SLURM, f"{stop}; ended by Slurm ({entry.state.lower() or 'gone'})")
        if stop.number == signal.SIGTERM and not entry.preempted:  # srun's, when a rank was killed; or a person's
            return Ending(How.STOPPED, str(stop))
        if entry.left_sec > self.resources.signal_delay_sec + EARLY_SEC:
            return self._requeue(How.PREEMPTED, f"{stop} (pre-empted)", self._timeouts())
        timeouts = self._timeouts() + 1
        if timeouts > self.resources.max_timeouts:
            return _too_often(stop, self.resources.max_timeouts)
        return self._requeue(How.TIMED_OUT, f"{stop} (time limit)", timeouts)

    def _timeouts(self) -> int:
        """Time limits reached before this attempt."""
        endings = [attempt.ending() for attempt in attempts(self.attempt.folder)]
        return self.earlier_timeouts + sum(ending is not None and ending.how == How.TIMED_OUT for ending in endings)

    def _requeue(self, how: How, message: str, timeouts: int) -> Ending:
        problem = commands.requeue(self.job_id)
        if not problem:
            return Ending(how, f"{message}; requeued", requeued=True)
        try:
            job_id = self.resubmit(timeouts)
        except VideoAdaptError as error:
            return Ending(how, f"{message}; cannot be requeued: {problem}; {error}; submit the run again")
        return Ending(how, f"{message}; {problem}; resubmitted as job {job_id}", resubmitted_as=job_id)


def _too_often(stop: Stop, limit: int) -> Ending:
    return Ending(
        How.TIMED_OUT, f"{stop} (time limit), more than {limit} times (--max-timeouts): submit the run again to resume"
    )
