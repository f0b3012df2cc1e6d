"""From configs to submitted jobs: everything checked first, the code copied, nothing queued that cannot run."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import submitit

from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError, VideoAdaptError
from videoadapt.runs.build_data import schedule_of
from videoadapt.runs.inputs import load_inputs
from videoadapt.runs.named_weights import with_commits
from videoadapt.slurm.attempts import How, attempts
from videoadapt.slurm.executors import batch_script, submit
from videoadapt.slurm.resources import Resources
from videoadapt.slurm.snapshot import code_version, snapshot
from videoadapt.slurm.status import active_jobs
from videoadapt.slurm.task import RENDEZVOUS, ClusterJob
from videoadapt.training.resume import described, find_resumable


def submit_runs(
    configs: Sequence[Config], resources: Resources, folder: Path | None = None
) -> list[submitit.Job[None]]:
    """Check, then submit one job for each config, several as one array; return submitit's handles.

    `folder` is where the jobs' own folders go; by default `<output>/jobs`, and that of the common parent for an array. Raises
    ConfigError with all problems before anything is queued, and when Slurm refuses.
    """
    configs = [with_commits(config) for config in configs]
    check(configs, resources)
    jobs_folder = _jobs_folder(configs, folder)
    code = None if resources.executor == "debug" else snapshot(jobs_folder.parent / "code")
    resources = _with_cpus(resources, configs)
    jobs = [ClusterJob(config, resources, code) for config in configs]
    return submit(jobs, [config.output for config in configs], resources, code, jobs_folder, {})


def script(configs: Sequence[Config], resources: Resources, folder: Path | None = None) -> str:
    """The script that sbatch would get, after the same checks. Writes nothing."""
    check(configs, resources)
    jobs_folder = _jobs_folder(configs, folder)
    code = jobs_folder.parent / "code" / code_version()
    return batch_script(_with_cpus(resources, configs), code, jobs_folder, len(configs))


def check(configs: Sequence[Config], resources: Resources) -> None:
    """Raise one ConfigError with everything that would keep the jobs from running: resources, settings, files, checkpoints."""
    problems = resources.problems()
    if any(name in os.environ for name in (*RENDEZVOUS, "TORCHELASTIC_RUN_ID")):
        problems.append("this is a process of torchrun, or of another launcher: submit from a plain shell, once")
    if problems:
        raise ConfigError(problems)
    outputs = [config.output.resolve() for config in configs]
    problems += [f"output = {path}: two of the configs have it" for path in set(outputs) if outputs.count(path) > 1]
    for config in configs:
        if config.device == "cuda" and not resources.gpus_per_node:
            problems.append("device = cuda: the job has no GPUs; ask for --gpus-per-node")
        if config.device == "cpu" and resources.gpus_per_node:
            problems.append(f"device = cpu: would leave {resources.gpus_per_node} GPUs a node idle; set device auto")
        try:
            problems += [
                f"output = {config.output}: job {job_id} of it is {state}; wait, cancel it, or choose another output"
                for job_id, state in active_jobs(config.output)
            ]
            splits = load_inputs(config, resources.num_tasks, here=resources.executor != "slurm")
            if config.train.enable:
                steps, now = schedule_of(config, splits.train).total_steps, described(config, splits)
                find_resumable(config.output, config.train.resume, now, steps, resources.num_tasks)
        except VideoAdaptError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _jobs_folder(configs: Sequence[Config], folder: Path | None) -> Path:
    if folder is None and len(configs) == 1:
        folder = configs[0].output / "jobs"
    elif folder is None:
        folder = Path(os.path.commonpath([config.output.resolve().parent for config in configs])) / "jobs"
    return folder.resolve()


def _with_cpus(resources: Resources, configs: Sequence[Config]) -> Resources:
    """By default a CPU for the main process and one for each loader worker."""
    wanted = 1 + max(config.data.workers for config in configs)
    return resources if resources.cpus_per_task else replace(resources, cpus_per_task=wanted)


def wait(jobs: Sequence[submitit.Job[None]]) -> int:
    """Wait for jobs that run here, not on Slurm; return 0 when all are finished, else 1."""
    finished = True
    for job in jobs:
        while not job.done():
            with suppress(KeyboardInterrupt):  # the tasks get it as well, save and end
                time.sleep(0.5)
        endings = [attempt.ending() for attempt in attempts(job.paths.folder)]
        finished &= bool(endings) and endings[-1] is not None and endings[-1].how == How.FINISHED
    return 0 if finished else 1
