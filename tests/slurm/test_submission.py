"""Before a job exists: what is checked, what sbatch would get, which code is kept. Real jobs: tests/cluster, and below."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from submitit.core.utils import JobPaths

from tests.forked import heed_all_signals
from tests.live_runs import descendants, not_before, wait_for_step
from tests.toy_runs import REPOSITORY, assert_same_run, environment, full_recipe, run, toy_config, write_config
from videoadapt.cli.submit import main
from videoadapt.cli.train import main as train
from videoadapt.errors import VideoAdaptError
from videoadapt.processes.signals import ASKING, Ended, end_on_signal, priority, stop_on_signal
from videoadapt.runs.outcome import Outcome, read_outcome
from videoadapt.slurm import announcement, commands, executors, interruption, status, submission
from videoadapt.slurm.attempts import Attempt, Ending, How, attempts, job_folders, write_submission
from videoadapt.slurm.interruption import Stop, StoppedJob
from videoadapt.slurm.resources import Resources, parse_minutes


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An sbatch and an srun on PATH, of which the first refuses everything; a file that is there once it was called."""
    (tmp_path / "bin").mkdir()
    called = tmp_path / "called"
    for name in ("sbatch", "srun"):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\ntouch {called}\necho 'sbatch: error: invalid account' >&2\nexit 1\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return called


@pytest.fixture
def config(clips: Path, tmp_path: Path) -> Path:
    return write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:30", 91),
        ("24:00:00", 1440),
        ("0:00:01", 1),
        ("2-12", 3600),
        ("1-00:30", 1470),
        ("1-0:0:1", 1441),
    ],
)
def test_times_are_read_as_sbatch_reads_them(text: str, minutes: int) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "1h", "1:2:3:4", "1-", "-5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no"):
        parse_minutes(text)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["data.train=nowhere"], "nowhere: the synthetic data set has no such split"),
        (["--nodes", "3"], "train.batch_size = 8: not divisible by 3 ranks"),
        (["--tasks-per-node", "8"], "leaves one clip for a forward pass"),
        (["device=auto", "--gpus-per-node", "2", "--tasks-per-node", "2"], "there is one task for each GPU"),
        (["--gpus-per-node", "2"], "device = cpu: would leave 2 GPUs a node idle"),
        (["device=cuda"], "the job has no GPUs; ask for --gpus-per-node"),
        (
            ["--time", "3"],
            "--time = 3 min: the job is asked to stop 120 s before its limit, and Slurm may ask 60 s earlier",
        ),
        (["--slurm", "time=99"], "--slurm time: is set by --time"),
        (["--nodes", "0"], "--nodes = 0: allowed: 1 or more"),
        (["--mem", "nan"], "--mem = nan: allowed: 0 or more"),
        (["--executor", "local", "--nodes", "2"], "--executor local has one node"),
        (["model.adapter.bottlenek=3"], "did you mean 'bottleneck'?"),
        (["model.adapter=[{name: lora}, {name: lora}]"], "model.adapter: lora appears twice"),
        (["data.crop_px=60"], "data.crop_px = 60: height and width need to be a multiple"),
        (["--account", "nobody"], "Slurm refuses the job: sbatch: error: invalid account"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_queued(
    arguments: list[str], complaint: str, config: Path, sbatch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--cfg", str(config), *arguments]) == 2
    said = capsys.readouterr().err
    assert complaint in said.rpartition("error: Slurm")[1] + said.rpartition("error: Slurm")[2] and "error: " in said
    assert "Traceback" not in said
    assert sbatch.exists() == ("invalid account" in complaint)


SQUEUE = """#!/bin/sh
echo asked >>{folder}/asked
if [ "$(wc -l <{folder}/asked)" -lt {answers_at} ]; then
    echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2
    exit 1
fi
echo 'RUNNING 59:31 N/A'
"""


@pytest.mark.parametrize(("answers_at", "tries"), [(1, 1), (3, 3), (4, 3), (2, 1)])
def test_a_queue_that_errs_is_asked_again_as_often_as_said(
    answers_at: int, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(SQUEUE.format(folder=tmp_path, answers_at=answers_at))
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(commands, "_PAUSE_SEC", 0.0)
    if answers_at <= tries:
        assert commands.ask_queue("7", tries) == commands.QueueEntry("RUNNING", 3571.0, False)
    else:
        with pytest.raises(
            VideoAdaptError, match="job 7: cannot find out whether it still waits or runs: slurm_load_jobs"
        ):
            commands.ask_queue("7", tries)
    assert (tmp_path / "asked").read_text().count("asked") == min(answers_at, tries)


SCONTROL = """#!/bin/sh
echo asked >>{folder}/requeued
[ "$(wc -l <{folder}/requeued)" -ge {answers_at} ] && exit 0
echo 'slurm_requeue error: Socket timed out on send/recv operation' >&2
exit 1
"""


@pytest.mark.parametrize(
    ("answers_at", "state", "asked", "problem"),
    [
        (1, "RUNNING", 1, ""),
        (3, "RUNNING", 3, ""),
        (9, "RUNNING", 3, "scontrol requeue: slurm_requeue error: Socket timed out on send/recv operation"),
        (9, "PENDING", 1, ""),  # done all the same: as another job it would run twice
    ],
)
def test_a_requeue_that_gets_no_answer_is_asked_for_again(
    answers_at: int, state: str, asked: int, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = SQUEUE.format(folder=tmp_path, answers_at=1).replace("RUNNING", state)
    for name, script in {"squeue": queue, "scontrol": SCONTROL.format(folder=tmp_path, answers_at=answers_at)}.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(commands, "_PAUSE_SEC", 0.0)
    assert commands.requeue("7") == problem
    assert (tmp_path / "requeued").read_text().count("asked") == asked


def test_torchruns_environment_is_never_taken_for_the_jobs(
    config: Path, sbatch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(["--cfg", str(config)]) == 2
    assert "submit from a plain shell, once" in capsys.readouterr().err and not sbatch.exists()


def test_a_dry_run_shows_what_sbatch_would_get(
    config: Path, clips: Path, tmp_path: Path, sbatch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_config(tmp_path / "d.yaml", toy_config(tmp_path / "other", clips))
    options = ["--account", "vision", "--qos", "high", "--constraint", "a100", "--exclude", "n7", "--mem", "2.5"]
    options += ["--partition", "gpu", "--comment", "a comment", "--time", "1-0", "--slurm", "reservation=night"]
    options += [
        "--gpus-per-node",
        "4",
        "--setup",
        "module load cuda",
        "--array-parallelism",
        "1",
        "--python",
        "enter python",
    ]
    options += ["device=auto", "data.workers=3"]
    assert main(["--cfg", str(config), "--cfg", str(other), *options, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for option in (
        "account=vision", "qos=high", "constraint=a100", "exclude=n7", "mem=2560M", "partition=gpu", "comment='a comment'",
        "time=1440", "reservation=night", "gpus-per-node=4", "ntasks-per-node=4", "array=0-1%1", "cpus-per-task=4",
        "signal=USR2@120", "open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH --{option}" in lines
    start = next(line for line in lines if line.startswith("srun "))
    assert "--kill-on-bad-exit=1 --open-mode=append --cpus-per-task=4 enter python -u -c 'import signal; " in start
    assert start.endswith(f"submitit_main()' {tmp_path}/jobs/%j")
    code = f"{tmp_path}/code/{submission.code_version()}"
    assert lines.index("module load cuda") < lines.index(
        f"export PYTHONPATH='{code}'${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1"
    )
    assert not sbatch.exists() and not (tmp_path / "code").exists() and not (tmp_path / "out").exists()


def test_a_folder_it_may_not_resume_in_is_refused(
    config: Path, sbatch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours in the queue before the run would say so."""
    assert train(["--cfg", str(config), "train.epochs=1", "test.enable=false"]) == 0
    assert main(["--cfg", str(config), "train.epochs=1", "--dry-run"]) == 0
    for overrides, complaint in (
        (["optim.lr_per_256=0.1"], "was trained with other values"),
        (["train.resume=never"], "train.resume = never"),
        (["train.resume=force", "train.batch_size=24"], "is past the 2 steps of this config; raise train.epochs"),
    ):
        capsys.readouterr()
        assert main(["--cfg", str(config), "train.epochs=1", *overrides, "--dry-run"]) == 2
        assert complaint in capsys.readouterr().err
    assert not sbatch.exists()


def test_a_job_that_ends_meanwhile_is_not_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    write_submission(tmp_path / "jobs" / "7", executor="local", job_id=str(ended.pid), ranks=1)
    monkeypatch.setattr(status, "_state", lambda folder: ("RUNNING", 0.0))
    assert status.cancel(tmp_path) == [str(ended.pid)]


QUEUE = """#!/bin/sh
[ -e {folder}/down ] && {{ echo 'slurm_load_jobs error: down' >&2; exit 1; }}
case "$*" in
    *--array*) printf '12 /elsewhere/jobs/%%j/%%j_0_log.out\\n77 {folder}/out/jobs/%%j/%%j_0_log.out    \\n' ;;
    *77*) echo 'PENDING 10:00 N/A' ;;
esac
"""


@pytest.mark.parametrize(("killed_in", "has_program"), [("note_job", True), ("move_temporary_file", False)])
def test_a_job_whose_submitter_was_killed_is_found(
    killed_in: str, has_program: bool, config: Path, sbatch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], log_lines: list[str],
) -> None:  # fmt: skip
    """After sbatch has answered: before its program is where it looks for it, or before the job is noted."""
    for name, script in {
        "sbatch": "#!/bin/sh\necho Submitted batch job 77",
        "squeue": QUEUE.format(folder=tmp_path),
    }.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)

    def killed(*args: object, **kwargs: object) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(executors if has_program else JobPaths, killed_in, killed)
        with pytest.raises(SystemExit):
            main(["--cfg", str(config)])
    run = tmp_path / "out"
    assert job_folders(run) == []
    (tmp_path / "down").touch()  # it may wait or run: nothing is queued beside it
    assert main(["--cfg", str(config)]) == 2 and "cannot find out which jobs wait or run" in capsys.readouterr().err
    (tmp_path / "down").unlink()
    assert main(["--cfg", str(config)]) == 2
    assert f"output = {run}: job 77 of it is PENDING; wait, cancel it, or" in capsys.readouterr().err
    (said,) = [line for line in log_lines if "submitter ended" in line]
    assert said.startswith(f"WARNING {run}: job 77: ") and ("cancel it" in said) is not has_program
    assert "job 77 (slurm, 1 rank): PENDING" in "\n".join(status.status_lines(run))
    assert [path.name for path in job_folders(run)] == ["77"] and len(log_lines) == log_lines.index(said) + 1


@pytest.mark.parametrize(
    ("index", "noted_by", "is_found"), [(0, None, True), (1, "ours", True), (2, "another", False), (3, None, False)]
)
def test_a_task_of_an_array_is_found_by_its_number(
    index: int, noted_by: str | None, is_found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was noted and not yet linked in its run; never what another submission has noted."""
    runs, folder = [tmp_path / f"run{number}" for number in range(4)], tmp_path / "jobs"
    announcement.announce(runs, folder, id="ours", executor="slurm", ranks=2, code="code")
    queued = [(f"9_{number}", f"{folder}/%A_%a/%A_%a_%t_log.out") for number in range(3)] + [("8_3", f"{folder}s/%j/o")]
    monkeypatch.setattr(commands, "queued_outputs", lambda: queued)
    if noted_by:
        write_submission(folder / f"9_{index}", id=noted_by, executor="slurm", job_id=f"9_{index}", ranks=2)
    for _ in range(2):
        announcement.note_announced(runs[index])
    found = job_folders(runs[index])
    assert [path.name for path in found] == ([f"9_{index}"] if is_found else [])
    assert all(path.resolve() == folder / path.name for path in found)
    announcement.withdraw(runs)
    assert not list(tmp_path.rglob(".submitting.json"))


def test_one_rank_is_the_first_to_fail(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, 0)
    attempt.begin(hosts=["n1"])
    assert attempt.note_failure(3, "melted") and not attempt.note_failure(0, "Connection closed by peer")
    assert attempt.failure()["rank"] == 3 and [a.number for a in attempts(tmp_path)] == [0] and not attempt.replaced()
    Attempt(tmp_path, 2).begin(hosts=["n2"])
    assert attempt.replaced() and not Attempt(tmp_path, 2).failure()


def test_an_attempt_ends_in_values_and_a_sentence(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, 0)
    attempt.begin(hosts=["n1"])
    assert attempt.ending() is None
    ending = Ending(How.PREEMPTED, "stopped at step 3 by SIGTERM (pre-empted); requeued", requeued=True)
    attempt.end(ending)
    values = json.loads(attempt.path.read_text())
    assert values["how"] == "preempted" and values["requeued"] is True and values["hosts"] == ["n1"]
    assert attempt.ending() == ending
    failed = Attempt(tmp_path, 1)
    failed.begin(hosts=["n1"])
    failed.note_failure(1, "melted")
    assert failed.ending() == Ending(How.FAILED, "failed")


@pytest.mark.parametrize(
    ("said", "how", "requeued", "other"),
    [
        ("finished", How.FINISHED, False, ""),
        ("stopped at step 28, after SIGUSR2, pre-empted, is back in the queue", How.PREEMPTED, True, ""),
        ("after SIGUSR2, reached its time limit, is back in the queue", How.TIMED_OUT, True, ""),
        ("stopped at step 9, after SIGUSR2, reached its time limit, more than 0 times (--max-timeouts): submit the run "
         "again to go on", How.TIMED_OUT, False, ""),
        ("stopped at step 9, after SIGUSR2, pre-empted, scontrol requeue: no: goes on as job 71", How.PREEMPTED, False, "71"),
        ("stopped at step 50, ended by Slurm (SIGTERM, completing)", How.ENDED_BY_SLURM, False, ""),
        ("stopped at step 2, stopped by SIGINT", How.STOPPED, False, ""),
        ("1 of the 8 videos of data.test cannot be read and count as wrong; ...", How.FAILED, False, ""),
    ],
)  # fmt: skip
def test_attempts_of_an_earlier_version_are_read(
    said: str, how: How, requeued: bool, other: str, tmp_path: Path
) -> None:
    (tmp_path / "attempt_0.json").write_text(json.dumps({"attempt": 0, "began": 1.0, "ended": 2.0, "how": said}))
    assert Attempt(tmp_path, 0).ending() == Ending(how, said, requeued, other)


RUNNING = commands.QueueEntry("RUNNING", left_sec=7000.0)


@pytest.mark.parametrize(
    ("number", "entry", "max_timeouts", "ending"),
    [
        (signal.SIGUSR2, RUNNING, 10, Ending(How.PREEMPTED, "stopped at step 5 by SIGUSR2 (pre-empted); requeued", True)),
        (signal.SIGTERM, RUNNING._replace(preempted=True), 10,
         Ending(How.PREEMPTED, "stopped at step 5 by SIGTERM (pre-empted); requeued", True)),
        (signal.SIGTERM, RUNNING, 10, Ending(How.STOPPED, "stopped at step 5 by SIGTERM")),
        (signal.SIGTERM, commands.QueueEntry("COMPLETING"), 10,
         Ending(How.ENDED_BY_SLURM, "stopped at step 5 by SIGTERM; ended by Slurm (completing)")),
        (signal.SIGUSR2, RUNNING._replace(left_sec=180.0), 4,
         Ending(How.TIMED_OUT, "stopped at step 5 by SIGUSR2 (time limit); requeued", True)),
        (signal.SIGUSR2, RUNNING._replace(left_sec=180.0), 3,
         Ending(How.TIMED_OUT, "stopped at step 5 by SIGUSR2 (time limit), more than 3 times (--max-timeouts): submit the run "
                "again to resume")),
    ],
)  # fmt: skip
def test_slurm_says_what_a_signal_means(
    number: int,
    entry: commands.QueueEntry,
    max_timeouts: int,
    ending: Ending,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After one time limit of this job (in an old file, and a pre-emption) and two of the job before it."""
    old = {"attempt": 0, "began": 1.0, "how": "after SIGUSR2, reached its time limit, is back in the queue"}
    (tmp_path / "attempt_0.json").write_text(json.dumps(old))
    Attempt(tmp_path, 1).end(Ending(How.PREEMPTED, "", requeued=True))

    def answer(job_id: str, tries: int) -> commands.QueueEntry:
        assert Attempt(tmp_path, 2).ending() == Ending(How.STOPPED, str(stop))  # Slurm may kill while it is asked
        return entry

    stop = Stop(number, 5)
    monkeypatch.setattr(interruption.commands, "ask_queue", answer)
    monkeypatch.setattr(interruption.commands, "requeue", lambda job_id: "")
    job = StoppedJob(Attempt(tmp_path, 2), Resources(max_timeouts=max_timeouts), "7", 2, lambda timeouts: "8")
    assert job.end_on_slurm(stop) == ending
    monkeypatch.setattr(interruption.commands, "requeue", lambda job_id: "scontrol requeue: disabled")
    stop = Stop(number)
    again = job.end_on_slurm(stop)
    assert again.how == ending.how and again.resubmitted_as == ("8" if ending.requeued else "")


def test_slurm_may_ask_twice_and_a_person_may_insist() -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_signal() as received:
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert received == [signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM]
        assert ASKING[priority(received) - 1] == signal.SIGUSR2 and priority([]) == 0
        os.kill(os.getpid(), signal.SIGINT)
    with end_on_signal(acts=True, leaves=False), pytest.raises(Ended, match="SIGUSR2"):
        os.kill(os.getpid(), signal.SIGUSR2)
    with end_on_signal(acts=False, leaves=False):
        os.kill(os.getpid(), signal.SIGUSR2)


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an undisturbed run of two ranks."""
    output = tmp_path_factory.mktemp("whole") / "run"
    run(full_recipe(output, clips, epochs=3), "test.average=probs", ranks=2)
    return output


@pytest.mark.slow
def test_a_local_job_is_requeued_to_the_same_bits(clips: Path, tmp_path: Path, whole: Path) -> None:
    """The path of a Slurm job without Slurm: two ranks get Ctrl-C, later the signal of a time limit, and resume."""
    output = tmp_path / "cut"
    options = ["--executor", "local", "--tasks-per-node", "2"]
    command = [sys.executable, "tools/submit.py", "--cfg", str(full_recipe(output, clips, epochs=3)), *options]

    def submit(step: int, disturb: Callable[[int], object]) -> int:
        with subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(), text=True, start_new_session=True, preexec_fn=heed_all_signals
        ) as process:
            wait_for_step(process, output, step)
            disturb(process.pid)
            return process.wait(timeout=600)

    def time_limit(pid: int) -> None:
        tasks = [task for task in descendants(pid) if b"core._submit" in Path(f"/proc/{task}/cmdline").read_bytes()]
        assert len(tasks) == 2
        for task in tasks:
            os.kill(task, signal.SIGUSR2)

    assert submit(2, lambda pid: os.killpg(pid, signal.SIGINT)) == 130  # Ctrl-C in the terminal
    assert submit(not_before(output, 6), time_limit) == 0
    assert_same_run(whole, output)
    ((stopped,), (first, second)) = [[a.ending() for a in attempts(folder)] for folder in job_folders(output)]
    assert stopped is not None and stopped.how == How.STOPPED and not stopped.requeued
    assert re.fullmatch(r"stopped at step \d+ by SIGINT", stopped.message)
    assert first is not None and first.how == How.TIMED_OUT and first.requeued
    assert second == Ending(How.FINISHED, "finished")
    record = read_outcome(output)
    assert record is not None and record.outcome == Outcome.FINISHED
    assert main(["status", str(output)]) == 0 and main(["tail", str(output)]) == 0


@pytest.mark.slow
def test_any_number_of_ranks_tests_alike(whole: Path) -> None:
    """16 videos over two, one and three ranks: the same results.json, and probabilities within 1e-5."""
    told, scores = [], []
    for ranks in (2, 1, 3):
        if ranks != 2:
            run(whole.with_suffix(".yaml"), "train.enable=false", "test.average=probs", ranks=ranks)
        told.append((whole / "results.json").read_text())
        with np.load(whole / "predictions.npz") as file:
            scores.append((file["scores"], file["video_id"].tolist()))
    assert told[0] == told[1] == told[2]
    for score_NK, video_ids in scores[1:]:
        assert video_ids == scores[0][1]
        assert np.abs(score_NK - scores[0][0]).max() < 1e-5
