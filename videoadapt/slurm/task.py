"""What runs in each task of a job: it joins the others, executes the run, and records how the attempt ended."""

import os
import signal
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import submitit
from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

import videoadapt
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError, Interrupted, TooManyUnreadable, VideoAdaptError
from videoadapt.processes.signals import Ended, end_on_signal, ignore_further
from videoadapt.slurm import commands
from videoadapt.slurm.attempts import Attempt, Ending, How, attempts
from videoadapt.slurm.executors import submit
from videoadapt.slurm.failures import FailureWatch
from videoadapt.slurm.interruption import Stop, StoppedJob
from videoadapt.slurm.resources import Resources

EXIT_ERROR, EXIT_UNREADABLE = 2, 3
RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MAY_LEAVE_SEC = 1200.0  # for an earlier attempt on a lost node; below the time limit of a collective


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
                task.end_stopped(Stop(ended.number))
                code = task.stopped_code
            except VideoAdaptError:  # it is in the logs already
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
        self.attempt = Attempt(folder, commands.restart_count() if self.on_slurm else _requeued(folder))
        self.failures = FailureWatch(self.attempt, environment)

    def run(self) -> int:
        """Join the others, run, and return the exit code."""
        if self.env.global_rank == 0:
            self.attempt.begin(hosts=list(self.env.hostnames))
        # one may have waited since the process began (executors.py)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
        self.failures.start()
        with self.failures.noted():  # and again inside the group, whose end makes the others fail
            self._check_code()
            _join(self.env, self.attempt.number)
            from videoadapt import distributed
            from videoadapt.log import setup_logging
            from videoadapt.processes.lock import wait_until_left
            from videoadapt.training.execution import execute

            with distributed.process_group(), self.failures.noted():
                setup_logging()
                self._check_device(distributed.device().type)
                if self.attempt.number:
                    distributed.on_main(lambda: wait_until_left(self.job.config.output, MAY_LEAVE_SEC))
                ending = Ending(How.FINISHED, "finished")
                try:
                    execute(self.job.config)
                except Interrupted as interrupted:
                    stop = Stop(interrupted.number, interrupted.step)
                    distributed.on_main(lambda: self.end_stopped(stop))
                    return self.stopped_code
                except TooManyUnreadable as error:
                    ending = Ending(How.FAILED, str(error))
                ignore_further()  # a finished run is not put back into the queue
                distributed.on_main(lambda: self.attempt.end(ending))
        if ending.how == How.FINISHED:
            return 0
        sys.stderr.write(f"error: {ending.message}\n")
        return EXIT_UNREADABLE

    def end_stopped(self, stop: Stop) -> None:
        """On rank 0, after a signal: requeue the job where the run is to resume, and record what was done."""
        ignore_further()
        job = StoppedJob(self.attempt, self.job.resources, self.env.job_id, self.job.timeouts, self._resubmit)
        ending = job.end_on_slurm(stop) if self.on_slurm else job.end_locally(stop)
        if ending.requeued and not self.on_slurm:
            self.stopped_code = LOCAL_REQUEUE_RETURN_CODE
        self.attempt.end(ending)

    def _resubmit(self, timeouts: int) -> str:
        """Submit the same run as another job that starts when this one has ended; return its id."""
        job, after = replace(self.job, timeouts=timeouts), {"dependency": f"afterany:{self.env.job_id}"}
        output = self.job.config.output
        return submit([job], [output], job.resources, job.code, output / "jobs", after)[0].job_id

    def _check_code(self) -> None:
        here = Path(videoadapt.__file__).parents[1]
        if self.job.code is not None and here != self.job.code:
            raise ConfigError(
                f"the job runs the code in {here}, not its snapshot {self.job.code}; check PYTHONPATH in --setup"
            )

    def _check_device(self, device: str) -> None:
        if self.job.resources.gpus_per_node and device != "cuda":
            raise ConfigError(
                f"{socket.gethostname()}: the job has GPUs, but torch sees none (driver, container, CPU build?)"
            )


def _requeued(folder: Path) -> int:
    """How many attempts of a local job have been requeued."""
    endings = [attempt.ending() for attempt in attempts(folder)]
    return sum(ending is not None and ending.requeued for ending in endings)


def _join(environment: Any, attempt: int) -> None:
    """Set the rendezvous from submitit's environment alone, whatever torchrun or an outer job has left there.

    The port differs from attempt to attempt: an earlier one may still hold its own. It lies below those that Linux gives to
    outgoing connections (32768 to 60999), any of which may be taken.
    """
    for name in [*RENDEZVOUS, *(name for name in os.environ if name.startswith("TORCHELASTIC_"))]:
        os.environ.pop(name, None)
    if environment.name() == "debug":
        return
    submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
    os.environ["MASTER_PORT"] = str(20000 + (int(os.environ["MASTER_PORT"]) + 997 * attempt) % 12768)
    if environment.name() == "local":
        os.environ["MASTER_ADDR"] = "127.0.0.1"


def _forget_earlier_results(pickle: Path) -> None:
    """After a requeue, what a rank of the attempt before left would be taken for this one's result."""
    for path in (pickle, pickle.with_suffix(".pkl.save_tmp")):
        path.unlink(missing_ok=True)
