"""What runs in each task of a job: rendezvous, the run, and what follows a signal, a failure or a lost node."""

import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import submitit
from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

import videoadapt
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError, Interrupted, VideoAdaptError
from videoadapt.processes.signals import Ended, end_on_signal, ignore_further
from videoadapt.slurm import commands
from videoadapt.slurm.attempts import FINISHED, TIMED_OUT, Attempt, attempts
from videoadapt.slurm.executors import submit
from videoadapt.slurm.resources import EARLY_SEC, Resources

EXIT_ERROR, EXIT_UNREADABLE = 2, 3
AGAIN = "is back in the queue"
RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
LOCAL_RETRIES = 5  # submitit's local controller starts tasks again so often
LOOK_EVERY_SEC = 2.0
LINGER_SEC = 2 * LOOK_EVERY_SEC  # until all ranks have seen which one failed: Slurm kills them when the first ends
LOST_RANK_SEC = (
    900.0  # until Slurm has noticed that a node is gone (SlurmdTimeout, 300 s by default) and requeues the job
)
MAY_LEAVE_SEC = 1200.0  # an earlier attempt on a lost node; below the time limit of a collective


@dataclass(frozen=True)
class ClusterJob:
    """The call that submitit pickles. What a later attempt needs is in files: Slurm requeues on its own, too."""

    config: Config
    resources: Resources
    code: Path | None  # the snapshot that must be running
    timeouts: int = 0  # time limits that jobs before this one have reached

    def __call__(self) -> None:
        """Run this task to its end. Leaves the process, with a code that is not 0, unless the run is finished."""
        environment = submitit.JobEnvironment()
        _forget_earlier_results(environment.paths.result_pickle)
        with end_on_signal(acts=environment.global_rank == 0, leaves=environment.name() != "debug"):
            task = _Task(self, environment)
            try:
                code = task.run()
            except Ended as ended:
                task.attempt.end(task.go_on_or_stop(ended.number))
                code = task.stopped_code
            except VideoAdaptError:  # its words are in the logs already
                code = EXIT_ERROR
        if code:
            sys.exit(code)


class _Task:
    """One rank of one attempt."""

    def __init__(self, job: ClusterJob, environment: Any):
        self.job = job
        self.env = environment
        self.on_slurm = environment.name() == "slurm"
        self.stopped_code = 1
        folder = environment.paths.folder
        requeued_here = sum(AGAIN in attempt.read().get("how", "") for attempt in attempts(folder))
        self.attempt = Attempt(folder, commands.restart_count() if self.on_slurm else requeued_here)

    def run(self) -> int:
        """Join the others, run, and return the exit code."""
        if self.env.global_rank == 0:
            self.attempt.begin(hosts=list(self.env.hostnames))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])  # one may wait since the process began (slurm.py)
        threading.Thread(target=self._watch, daemon=True).start()
        with self._failure_noted():  # and again inside the group, whose end makes the others fail
            self._check_code()
            _join(self.env, self.attempt.number)
            from videoadapt import distributed
            from videoadapt.execution import execute, too_many_unreadable
            from videoadapt.processes.lock import wait_until_left
            from videoadapt.terminal import setup_logging

            with distributed.process_group(), self._failure_noted():
                setup_logging()
                self._check_device(distributed.device().type)
                if self.attempt.number:
                    distributed.on_main(lambda: wait_until_left(self.job.config.output, MAY_LEAVE_SEC))
                try:
                    run, results = execute(self.job.config)
                except Interrupted as stop:
                    number, text = stop.number, str(stop)
                    distributed.on_main(lambda: self.attempt.end(f"{text.split(';')[0]}, {self.go_on_or_stop(number)}"))
                    return self.stopped_code
                ignore_further()  # a finished run is not put back into the queue
                problem = too_many_unreadable(run, results) if results else ""
                distributed.on_main(lambda: self.attempt.end(problem or FINISHED))
        if problem:
            sys.stderr.write(f"error: {problem}\n")
        return EXIT_UNREADABLE if problem else 0

    def go_on_or_stop(self, number: int) -> str:
        """Rank 0: after a signal, put the job back into the queue where it shall go on; return what was done, for people."""
        ignore_further()
        name = signal.Signals(number).name
        if not self.on_slurm:
            if number != signal.SIGUSR2:
                return f"stopped by {name}"
            return self._go_on(f"after {name}, {TIMED_OUT}", timed_out=True)
        try:
            said = commands.ask_queue(self.env.job_id, tries=3)
        except VideoAdaptError as error:
            return f"stopped by {name}, and cannot go on: {error}; submit the run again"
        if said is None:
            return f"stopped by {name}, and cannot go on: squeue is not on {socket.gethostname()}; submit the run again"
        if said.state != "RUNNING":  # scancel, or requeued by someone else: Slurm knows what follows
            return f"ended by Slurm ({name}, {said.state.lower() or 'gone'})"
        if number == signal.SIGTERM and not said.preempted:  # srun's, when a rank was killed; or a person's
            return f"stopped by {name}"
        timed_out = said.left_sec <= self.job.resources.signal_delay_sec + EARLY_SEC
        return self._go_on(f"after {name}, {TIMED_OUT if timed_out else 'pre-empted'}", timed_out)

    def _go_on(self, why: str, timed_out: bool) -> str:
        limit = (
            self.job.resources.max_timeouts if self.on_slurm else min(self.job.resources.max_timeouts, LOCAL_RETRIES)
        )
        timeouts = self.job.timeouts + timed_out
        timeouts += sum(TIMED_OUT in attempt.read().get("how", "") for attempt in attempts(self.attempt.folder))
        if timeouts > limit:
            return f"{why}, more than {limit} times (--max-timeouts): submit the run again to go on"
        if not self.on_slurm:
            self.stopped_code = LOCAL_REQUEUE_RETURN_CODE
            return f"{why}, {AGAIN}"
        problem = commands.requeue(self.env.job_id)
        if not problem:
            return f"{why}, {AGAIN}"
        try:
            job_id = self._resubmit(timeouts)
        except VideoAdaptError as error:
            return f"{why}, and cannot go on: {problem}; {error}; submit the run again"
        return f"{why}, {problem}: goes on as job {job_id}"

    def _resubmit(self, timeouts: int) -> str:
        """Submit the same run as another job that starts when this one has ended; return its id."""
        job, after = replace(self.job, timeouts=timeouts), {"dependency": f"afterany:{self.env.job_id}"}
        output = self.job.config.output
        return submit([job], [output], job.resources, job.code, output / "jobs", after)[0].job_id

    def _check_code(self) -> None:
        here = Path(videoadapt.__file__).parents[1]
        if self.job.code is not None and here != self.job.code:
            raise ConfigError(
                f"the job runs the code in {here}, not its snapshot {self.job.code}; see to PYTHONPATH in --setup"
            )

    def _check_device(self, device: str) -> None:
        if self.job.resources.gpus_per_node and device != "cuda":
            raise ConfigError(
                f"{socket.gethostname()}: the job has GPUs, but torch sees none (driver, container, CPU build?)"
            )

    @contextmanager
    def _failure_noted(self) -> Iterator[None]:
        """Keep the words of the rank that fails first, before its end makes the others fail; show them in the others' logs."""
        try:
            yield
        except (Interrupted, Ended, SystemExit):
            raise
        except BaseException as error:
            if self.on_slurm and _is_lost_rank(error) and not self.attempt.failure():
                sys.stderr.write(
                    f"another rank is gone without a word; waiting for Slurm to end or requeue the job: {error}\n"
                )
                time.sleep(LOST_RANK_SEC)
            short = f"error: {error}\n" if isinstance(error, VideoAdaptError) else traceback.format_exc()
            if self.attempt.note_failure(self.env.global_rank, short):
                sys.stderr.write(short)
                time.sleep(LINGER_SEC if self.env.num_tasks > 1 else 0)
            elif self._other_failed():
                self._show_first_failure()
            raise

    def _other_failed(self) -> bool:
        return self.attempt.failure().get("rank", self.env.global_rank) != self.env.global_rank

    def _show_first_failure(self) -> None:
        first = self.attempt.failure()
        sys.stderr.write(f"rank {first['rank']} on {first['host']} failed first:\n{first['why']}\n")
        sys.stderr.flush()

    def _watch(self) -> None:
        """End this process, blocked or not, soon after another rank has failed or a later attempt has begun.

        A later attempt begins while this one is at work when a node was only out of Slurm's sight: two would write.
        """
        waiting = threading.Event()
        while not waiting.wait(LOOK_EVERY_SEC):
            with suppress(OSError):  # a file system that does not answer for a moment
                if self.attempt.replaced():
                    sys.stderr.write(f"a later attempt of job {self.env.job_id} has begun: this one leaves at once\n")
                    os._exit(1)
                if self._other_failed():
                    self._show_first_failure()
                    os._exit(1)


def _join(environment: Any, attempt: int) -> None:
    """Set the rendezvous from submitit's environment alone, whatever torchrun or an outer job has left there.

    The port differs from attempt to attempt: an earlier one may still hold its own.
    """
    for name in [*RENDEZVOUS, *(name for name in os.environ if name.startswith("TORCHELASTIC_"))]:
        os.environ.pop(name, None)
    if environment.name() == "debug":
        return
    submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
    os.environ["MASTER_PORT"] = str(20000 + (int(os.environ["MASTER_PORT"]) - 20000 + 997 * attempt) % 40000)
    if environment.name() == "local":
        os.environ["MASTER_ADDR"] = "127.0.0.1"


def _is_lost_rank(error: BaseException) -> bool:
    """True for the error of a collective, which is the trace that a rank leaves that was killed, or whose host is gone."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and re.search("gloo|NCCL", str(error)) is not None
    )


def _forget_earlier_results(pickle: Path) -> None:
    """After a requeue, what a rank of the attempt before left would be taken for this one's result."""
    for path in (pickle, pickle.with_suffix(".pkl.save_tmp")):
        path.unlink(missing_ok=True)
