"""Runs on a real Slurm, each disturbed in its own way, end with the bits of an undisturbed one, or say why they do not.

All runs are sent off together and disturbed as soon as they have got to a certain step, so that the waits overlap.
"""

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.jobs import STEPS, Job, Tree, kill_daemon, kill_tasks, slurm, wait_for
from tests.toy_runs import assert_same_run, final_weights, records, toy_config, write_config
from videoadapt.cli.submit import main
from videoadapt.errors import VideoAdaptError
from videoadapt.runs.outcome import Outcome, read_outcome
from videoadapt.slurm.attempts import Ending, How
from videoadapt.slurm.status import active_jobs, status_lines, tail

pytestmark = pytest.mark.slurm
# signalled 40 to 70 s after the start; a minute to leave would be too short on a busy machine
LIMITED = ("--time", "3", "--signal-delay", "110")
FINISHED = Ending(How.FINISHED, "finished")
Jobs = dict[str, Job]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def alone(tree: Tree) -> Path:
    """The undisturbed run in one process, without Slurm."""
    tree.tool("tools/run_net.py", "--cfg", tree.config("alone", pause_sec=0.0))
    return tree.folder / "outputs/alone"


@pytest.fixture(scope="module")
def jobs(cluster: Path, tree: Tree, alone: Path) -> Jobs:
    """All runs, submitted and disturbed. Once they are running, the code that they were submitted from is broken."""
    without_slurm, out_of_touch = only_srun(tree.folder / "bin"), only_srun(tree.folder / "bin_out_of_touch")
    (out_of_touch / "slurm.conf").write_text(without_controller())
    squeue = out_of_touch / "squeue"
    squeue.write_text(f'#!/bin/sh\nSLURM_CONF={out_of_touch}/slurm.conf exec /usr/bin/squeue "$@"\n')
    squeue.chmod(0o755)
    slow, slower = {"pause_sec": 0.13}, {"pause_sec": 0.16}  # 62 and 77 s for 60 updates, and the start
    sent = tree.submit(
        {
            "limited": ([*LIMITED], slower),
            "limited_once": ([*LIMITED, "--max-timeouts", "0"], slower),
            "lost": (["--partition", "shaky"], {"pause_sec": 0.3}),  # still running when Slurm has missed its node
        }
    )
    # their time is short on a busy machine: they start before the rest
    wait_for(
        lambda: all(job.step() >= 3 for job in sent.values()), 100, lambda: str({n: j.log(0) for n, j in sent.items()})
    )
    sent["limited"].early_status = status_lines(sent["limited"].run)
    assert [state for _, state in active_jobs(sent["limited"].run)] == ["RUNNING"]  # so another submission is refused
    disturbed: dict[str, tuple[list[str], dict[str, Any]]] = {
        "pair": (["--nodes", "2"], {}),
        "pair_preempted": (["--nodes", "2"], slow),
        "pair_testing": (["--nodes", "2"], {"pause_sec": 0.05, "test_pause_sec": 6.0}),
        "crashed": (["--nodes", "2", "--partition", "crashing"], {}),
        "killed": (["--nodes", "2"], slow),
        "raising": (["--nodes", "2"], {"fails_on_rank": 1}),
        "preempted": (["--slurm", "gres=gpu:2", "--slurm", "nodelist=node1"], {}),
        "requeued": ([], {}),
        "not_requeued": (["--slurm", "no-requeue"], {}),
        "cannot": (["--setup", f"PATH={without_slurm}"], {}),
        "out_of_touch": (["--setup", f"PATH={out_of_touch}"], {}),
        "cancelled": ([], slow),
        "starting": (["--slurm", "hold"], {}),
        "leaving": ([], {"pause_sec": 0.0, "lingers_sec": 8.0}),
    }
    # on a slow machine the first of them would be through before the last is submitted
    begin = tree.folder / "begin"
    sent |= tree.submit(
        {name: (options, {**decoder, "after": str(begin)}) for name, (options, decoder) in disturbed.items()}
    )
    begin.touch()
    faults = disturbances(cluster, tree, sent)

    def is_due(name: str) -> bool:
        if name == "starting":
            return "Loading pickle" in sent[name].log(0, "out")
        if name == "pair_testing":  # what follows a training that is over
            return (sent[name].run / "phases.jsonl").exists()
        return sent[name].endings() == [FINISHED] if name == "leaving" else sent[name].step() >= 10

    def disturb() -> bool:
        for name in filter(is_due, list(faults)):
            faults.pop(name)()
        return not faults

    wait_for(disturb, 900, lambda: f"never got there: {[(name, sent[name].step()) for name in faults]}")
    tree.decoder.write_text("raise SystemExit('the working tree has changed')\n")
    return sent


def disturbances(cluster: Path, tree: Tree, sent: Jobs) -> dict[str, Callable[[], object]]:
    """What happens to a job, by its name, when it is due; the one to be signalled while it starts waits for its call."""
    call = sent["starting"].folder / f"{sent['starting'].id}_submitted.pkl"
    away = call.rename(call.with_suffix(".away"))
    slurm("scontrol", "release", sent["starting"].id)
    where = ("--partition=urgent", "--gres=gpu:2", "--nodelist=node1", "--output=/dev/null")

    def ask(name: str) -> str:
        return slurm("scancel", "--signal=USR2", sent[name].id)

    asked = ("pair_preempted", "pair_testing", "not_requeued", "cannot", "out_of_touch", "leaving")
    return {
        **{name: partial(ask, name) for name in asked},
        "preempted": lambda: slurm("sbatch", *where, "--wrap=sleep 1"),
        "requeued": lambda: slurm("scontrol", "requeue", sent["requeued"].id),
        "starting": lambda: (ask("starting"), away.rename(call)),
        "crashed": lambda: crash(cluster, sent["crashed"]),
        "killed": lambda: kill_tasks(sent["killed"], sent["killed"].hosts()[0][1]),
        "lost": lambda: kill_daemon(cluster, sent["lost"].hosts()[0][0]),
        "cancelled": lambda: tree.tool("tools/submit.py", "cancel", sent["cancelled"].run),  # takes seconds
    }


def only_srun(folder: Path) -> Path:
    """A folder for PATH that has no other command of Slurm's."""
    folder.mkdir()
    (folder / "srun").symlink_to("/usr/bin/srun")
    return folder


def without_controller() -> str:
    """A slurm.conf whose controller does not answer: nobody listens at port 9."""
    return re.sub(r"(?m)^SlurmctldPort=.*$", "SlurmctldPort=9", Path(os.environ["SLURM_CONF"]).read_text())


def crash(cluster: Path, job: Job) -> None:
    """The second node of a job is gone at once, with all that ran there."""
    node = job.hosts()[0][1]
    kill_daemon(cluster, node)
    kill_tasks(job, node, with_step=True)


def only_ending(job: Job) -> Ending:
    """How the only attempt of a job ended."""
    (ending,) = job.endings()
    assert ending is not None
    return ending


def assert_as_alone(alone: Path, job: Job) -> None:
    assert len(records(job.run)) == STEPS
    record = read_outcome(job.run)
    assert record is not None and record.outcome == Outcome.FINISHED
    assert_same_run(alone, job.run)


def test_status_says_where_a_job_stands(jobs: Jobs) -> None:
    job = jobs["limited"]
    run, state, attempt, logs = job.early_status
    assert re.search(r"step \d+, loss \d.*; \d+ steps to go, about 0:0", run), run
    assert re.fullmatch(rf"job {job.id} \(slurm, 1 rank\): RUNNING, 0:0[012]:\d\d of its time left", state), state
    assert attempt.endswith("on node1: still running, or ended without a record") and logs.startswith(
        f"  logs: {job.folder}/{job.id}_<rank>_log.err"
    )
    jobs["raising"].wait()
    told = "\n".join(status_lines(jobs["raising"].run))
    assert ": FAILED" in told and "rank 1 on node2 failed first: RuntimeError: the disk of this node melts" in told
    assert f"==> {jobs['raising'].folder}/{jobs['raising'].id}_1_log.err" in list(tail(jobs["raising"].run, 3))


def test_a_queue_that_does_not_answer_is_not_an_empty_one(
    jobs: Jobs, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs["limited_once"]
    ended = job.wait()
    no_queue = without_controller()
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    (tmp_path / "slurm.conf").write_text(no_queue)
    assert active_jobs(job.run) == [] and f": {ended}" in status_lines(job.run)[1]  # the accounting knows
    (tmp_path / "slurm.conf").write_text(re.sub(r"(?m)^AccountingStoragePort=.*$", "AccountingStoragePort=9", no_queue))
    with pytest.raises(
        VideoAdaptError, match=f"job {job.id}: cannot find out whether it still waits or runs: slurm_load_jobs"
    ):
        active_jobs(job.run)
    assert "UNKNOWN (job" in status_lines(job.run)[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--nodes", "3"], "not divisible by 3 ranks"),
        (["--partition", "nowhere"], "Slurm refuses the job: sbatch: error: "),
        (["--slurm", "setup=x"], "Slurm refuses the job: sbatch: unrecognized option '--setup=x'"),
    ],
)
def test_what_cannot_run_is_not_queued(
    arguments: list[str], complaint: str, cluster: Path, clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "refused", clips))
    assert main(["--cfg", str(config), *arguments]) == 2
    assert complaint in capfd.readouterr().err
    assert slurm("squeue", "--noheader", "--states=all", "--name=refused") == ""


def test_two_nodes_train_and_test_as_one_process(jobs: Jobs, alone: Path) -> None:
    job = jobs["pair"]
    job.wait("COMPLETED")
    assert job.endings() == [FINISHED] and job.hosts() == [["node1", "node2"]]
    losses = [[record["loss"] for record in records(run)] for run in (alone, job.run)]
    assert len(losses[0]) == STEPS and losses[1] == pytest.approx(losses[0], abs=1e-5)
    ours, theirs = job.results(), json.loads((alone / "results.json").read_text())
    for found in (ours, theirs):
        del found["statement"]["config"]["data"]["decoder"]  # how long it paused
    sure, so_sure = ours.pop("confidence")["before"], theirs.pop("confidence")["before"]
    assert sure == pytest.approx(so_sure, abs=1e-3)  # of weights that are the same to 1e-5
    assert ours == theirs


def test_two_signalled_nodes_save_one_step_and_resume(jobs: Jobs) -> None:
    job = jobs["pair_preempted"]
    job.wait("COMPLETED")
    first, second = job.endings()
    assert first is not None and first.how == How.PREEMPTED and first.requeued and second == FINISHED
    match = re.fullmatch(r"stopped at step (\d+) by SIGUSR2 \(pre-empted\); requeued", first.message)
    assert match and f"step_{int(match[1]):08d}.pt at step {match[1]} of {STEPS}" in job.log(0)
    jobs["pair"].wait()
    assert_same_run(jobs["pair"].run, job.run)


def test_two_nodes_signalled_while_they_test_do_it_again(jobs: Jobs) -> None:
    job = jobs["pair_testing"]
    job.wait("COMPLETED")
    assert job.endings() == [
        Ending(How.PREEMPTED, "stopped by SIGUSR2 (pre-empted); requeued", requeued=True),
        FINISHED,
    ]
    jobs["pair"].wait()
    assert_same_run(jobs["pair"].run, job.run)


def test_preempted_by_a_more_urgent_job_it_resumes_after_it(jobs: Jobs, alone: Path) -> None:
    """By SIGTERM alone, as Slurm does by default."""
    job = jobs["preempted"]
    job.wait("COMPLETED")
    first = job.endings()[0]
    assert first is not None and first.how == How.PREEMPTED and first.requeued and "by SIGTERM" in first.message
    assert_as_alone(alone, job)


def test_requeued_by_hand_saves_before_it_is_killed(jobs: Jobs, alone: Path) -> None:
    job = jobs["requeued"]
    job.wait("COMPLETED")
    first, second = job.endings()
    assert first is not None and first.how == How.ENDED_BY_SLURM and "by SIGTERM; ended by Slurm (" in first.message
    assert second == FINISHED
    assert_as_alone(alone, job)


def test_at_its_time_limit_it_goes_on(jobs: Jobs, alone: Path) -> None:
    job = jobs["limited"]
    job.wait("COMPLETED")
    *timed_out, last = job.endings()
    assert timed_out and all(e is not None and e.how == How.TIMED_OUT and e.requeued for e in timed_out)
    assert last == FINISHED
    assert_as_alone(alone, job)


def test_signalled_while_it_starts_it_goes_on(jobs: Jobs, alone: Path) -> None:
    job = jobs["starting"]
    job.wait("COMPLETED")
    assert job.endings() == [
        Ending(How.PREEMPTED, "stopped by SIGUSR2 (pre-empted); requeued", requeued=True),
        FINISHED,
    ]
    assert_as_alone(alone, job)


def test_signalled_while_it_leaves_it_has_finished(jobs: Jobs, alone: Path) -> None:
    job = jobs["leaving"]
    job.wait("COMPLETED")
    assert job.endings() == [FINISHED]
    assert_as_alone(alone, job)


def test_at_one_time_limit_too_many_it_saves_and_says_so(jobs: Jobs) -> None:
    job = jobs["limited_once"]
    job.wait("FAILED")
    ending = only_ending(job)
    assert ending.how == How.TIMED_OUT and not ending.requeued
    assert "(time limit), more than 0 times (--max-timeouts): submit the run again" in ending.message
    assert ending.message.startswith(f"stopped at step {job.step()} ") and final_weights(job.run)
    record = read_outcome(job.run)
    assert record is not None and record.outcome == Outcome.STOPPED
    assert (record.signal, record.step) == ("SIGUSR2", job.step())


def test_without_requeue_it_goes_on_as_another_job(jobs: Jobs, alone: Path) -> None:
    job = jobs["not_requeued"]
    job.wait()
    ending = only_ending(job)
    other = ending.resubmitted_as
    assert (
        other.isdigit() and f"resubmitted as job {other}" in ending.message and "scontrol requeue: " in ending.message
    )
    second = Job(job.run)
    second.folder, second.id = job.folder.parent / other, other
    second.wait("COMPLETED")
    assert second.endings() == [FINISHED]
    assert_as_alone(alone, job)


def test_without_slurms_commands_on_the_node_it_says_so(jobs: Jobs, tree: Tree) -> None:
    job = jobs["cannot"]
    job.wait("FAILED")
    ending = only_ending(job)
    assert ending.how == How.STOPPED and "cannot be requeued: squeue is not on node" in ending.message
    assert f"stopped at step {job.step()} " in ending.message


def test_without_an_answer_from_the_controller_it_saves(jobs: Jobs) -> None:
    job = jobs["out_of_touch"]
    job.wait("FAILED")
    assert only_ending(job).message.startswith(
        f"stopped at step {job.step()} by SIGUSR2; cannot be requeued: job {job.id}: "
    )


def test_cancelled_it_saves_and_stays_away(jobs: Jobs) -> None:
    job = jobs["cancelled"]
    job.wait("CANCELLED")
    ending = only_ending(job)
    assert ending.how == How.ENDED_BY_SLURM
    assert ending.message.startswith(f"stopped at step {job.step()} by SIGTERM; ended by Slurm (")


def test_one_rank_that_fails_ends_the_job_and_is_shown_first(jobs: Jobs, tree: Tree) -> None:
    job = jobs["raising"]
    job.wait("FAILED")
    assert only_ending(job).how == How.FAILED
    record = read_outcome(job.run)
    assert record is not None and record.outcome == Outcome.FAILED
    assert (record.error, record.message) == ("RuntimeError", "the disk of this node melts")
    assert "the disk of this node melts" in job.log(1)
    assert job.log(0).index("rank 1 on node2 failed first:") < job.log(0).index("the disk of this node melts")
    assert "the disk of this node melts" not in job.log(0).partition("rank 1 on node2 failed first:")[0]
    begun, failed = (
        path.stat().st_mtime for path in (job.folder / "attempt_0.json", job.folder / "attempt_0_failure.json")
    )
    ended = max(path.stat().st_mtime for path in job.folder.glob("*_log.err"))
    assert begun < failed and ended - failed < 60  # a rank that waits for a lost one waits half an hour


def test_a_killed_rank_ends_the_job(jobs: Jobs) -> None:
    job = jobs["killed"]
    job.wait("FAILED")
    assert job.step() < STEPS
    assert "task 1: Killed" in job.log(0)


def test_a_crashed_node_is_replaced(jobs: Jobs) -> None:
    """The rank that is left waits until Slurm notices: failing at once, it would end the job for good."""
    job = jobs["crashed"]
    job.wait("COMPLETED")
    assert job.endings()[-1] == FINISHED and job.hosts()[0][1] not in job.hosts()[-1]
    assert "NODE_FAIL" in slurm("sacct", "-D", "-X", "-n", "-j", job.id, "-o", "State")
    jobs["pair"].wait()
    assert_same_run(jobs["pair"].run, job.run)


def test_a_node_lost_with_its_task_still_running_is_replaced(jobs: Jobs, alone: Path) -> None:
    """Slurm starts the run on the other node while the old task still runs: it must leave, and the bits are the same."""
    job = jobs["lost"]
    job.wait("COMPLETED")
    assert job.endings()[1:] == [FINISHED] and job.hosts()[0] != job.hosts()[1]
    assert "a later attempt of job" in job.log(0)
    assert_as_alone(alone, job)
