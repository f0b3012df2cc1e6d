"""outcome.json says how the last run in a folder ended, and never how an earlier one did."""

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.live_runs import start, stop_after
from tests.toy_runs import toy_config, write_config
from videoadapt import distributed
from videoadapt.cli.train import main
from videoadapt.data.structures import Video, VideoViews
from videoadapt.errors import Diverged, Interrupted, NotFinite, VideoAdaptError
from videoadapt.evaluation import tested, testing
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.files import write_json
from videoadapt.processes.lock import only_process_in
from videoadapt.processes.signals import Ended
from videoadapt.runs import outcome
from videoadapt.runs.metrics import MetricsWriter
from videoadapt.runs.outcome import FILE_NAME, Outcome, OutcomeRecord, OutcomeRecorder, read_outcome
from videoadapt.training import loop


def record_in(folder: Path) -> OutcomeRecord:
    record = read_outcome(folder)
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("error", "values"),
    [
        (None, {"outcome": "finished"}),
        (Interrupted("stopped at step 7", signal.SIGTERM, 7), {"outcome": "stopped", "signal": "SIGTERM", "step": 7}),
        (Ended(signal.SIGUSR2), {"outcome": "stopped", "signal": "SIGUSR2"}),
        (KeyboardInterrupt(), {"outcome": "stopped", "signal": "SIGINT"}),
        (Diverged(4, "training", "the loss is nan"), {"outcome": "diverged", "step": 4, "phase": "training"}),
        (Diverged(4, "validation", "clip 0"), {"outcome": "diverged", "step": 4, "phase": "validation"}),
        (NotFinite("test: clip 0"), {"outcome": "failed", "error": "NotFinite"}),
        (ZeroDivisionError("a / 0"), {"outcome": "failed", "error": "ZeroDivisionError", "message": "a / 0"}),
    ],
)
def test_each_end_is_data(error: BaseException | None, values: dict[str, Any], tmp_path: Path) -> None:
    before = time.time()
    if error is None:
        with OutcomeRecorder(tmp_path):
            pass
    else:
        with pytest.raises(type(error)), OutcomeRecorder(tmp_path):
            raise error
    found = json.loads((tmp_path / FILE_NAME).read_text())
    assert values.items() <= found.items() and found["pid"] == os.getpid()
    assert before <= found["began"] <= found["ended"] <= time.time()
    optional = {"signal", "step", "phase", "error"} & found.keys()
    assert optional == values.keys() & {"signal", "step", "phase", "error"}
    assert record_in(tmp_path).outcome == values["outcome"]


def test_an_earlier_outcome_is_gone_when_a_run_begins(tmp_path: Path) -> None:
    with pytest.raises(Diverged), OutcomeRecorder(tmp_path):
        raise Diverged(4, "training", "the loss is nan")
    with OutcomeRecorder(tmp_path):
        record = record_in(tmp_path)
        assert (record.outcome, record.pid, record.step, record.ended) == (Outcome.RUNNING, os.getpid(), None, None)


def test_a_full_disk_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with OutcomeRecorder(tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), OutcomeRecorder(tmp_path):
        monkeypatch.setattr(outcome, "write_json", full)
        raise ZeroDivisionError
    assert record_in(tmp_path).outcome == Outcome.RUNNING
    with pytest.raises(OSError, match="No space"), OutcomeRecorder(tmp_path):
        pass
    assert read_outcome(tmp_path) is None  # rather none than that of an earlier run


@pytest.mark.parametrize("stop", [Ended(signal.SIGTERM), KeyboardInterrupt()])
@pytest.mark.parametrize(("error", "said"), [(None, Outcome.FINISHED), (ZeroDivisionError(), Outcome.FAILED)])
def test_a_signal_while_the_end_is_written_loses_no_end(
    error: Exception | None, said: Outcome, stop: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left `running` of a run that had ended."""
    signals = [stop]

    def signalled(path: Path, value: object) -> None:
        if signals and value["outcome"] != "running":  # type: ignore[index]
            raise signals.pop()
        write_json(path, value)

    monkeypatch.setattr(outcome, "write_json", signalled)
    with pytest.raises(type(stop)), OutcomeRecorder(tmp_path):
        if error is not None:
            raise error
    assert not signals and record_in(tmp_path).outcome == said


def test_a_later_run_is_not_overwritten(tmp_path: Path) -> None:
    """Where a file system has no locks, a process that Slurm had lost sight of may end after its successor began."""
    with OutcomeRecorder(tmp_path):
        (tmp_path / FILE_NAME).write_text(
            (tmp_path / FILE_NAME).read_text().replace(f'"pid": {os.getpid()}', '"pid": 1')
        )
    assert (record_in(tmp_path).outcome, record_in(tmp_path).pid) == (Outcome.RUNNING, 1)


def test_names_that_are_no_utf8_are_recorded(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xe2\x82\xac.mp4")
    with pytest.raises(VideoAdaptError), OutcomeRecorder(tmp_path):
        raise VideoAdaptError(name)
    assert record_in(tmp_path).message == name and "€.mp4" in (tmp_path / FILE_NAME).read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "{}", '{"outcome": "gone"}', '{"outcome": "failed", "more": 1}'])
def test_another_file_of_that_name_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(
        VideoAdaptError, match=r"outcome\.json: (is not the outcome of a run: \w+ |is damaged; delete it)"
    ):
        read_outcome(tmp_path)


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(VideoAdaptError, match=r"outcome\.json: cannot be read: Is a directory; move it away"):
        read_outcome(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_testing_is_recorded(number: signal.Signals, clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    config = write_config(tmp_path / "c.yaml", toy_config(output, clips, train={"epochs": 1}))
    assert main(["--cfg", str(config), "test.enable", "false"]) == 0
    with start(config, "train.enable=false", "test.clips=500") as process:
        deadline = time.monotonic() + 600
        while (output / "run.log").read_text().count("cost of a test video") < 2:  # one is of the training
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=60) == 130
    record = record_in(output)
    assert (record.outcome, record.signal) == (Outcome.STOPPED, number.name) and record.ended


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("metrics", signal.SIGTERM),
        ("checkpoint", signal.SIGUSR2),
        pytest.param("metrics", signal.SIGUSR2, marks=pytest.mark.slow),
        pytest.param("checkpoint", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_as_the_training_ends_stops_before_the_test(
    moment: str, number: signal.Signals, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was lost: a test that takes longer than a scheduler waits was then killed, and the job not requeued."""
    output, owner = tmp_path / "out", {"metrics": MetricsWriter, "checkpoint": loop}[moment]
    name, sent = {"metrics": "metrics", "checkpoint": "save_newest"}[moment], []
    original = getattr(owner, name)

    def then_signal(*args: Any, **values: Any) -> None:
        original(*args, **values)
        if args[2] == 6 if moment == "metrics" else args[1]["step"] == 6:
            os.kill(os.getpid(), number)
            sent.append(number)

    monkeypatch.setattr(owner, name, then_signal)
    config = ["--cfg", str(write_config(tmp_path / "c.yaml", toy_config(output, clips, train={"epochs": 1})))]
    assert main(config) == 130 and sent == [number]
    record = record_in(output)
    assert (record.outcome, record.signal) == (Outcome.STOPPED, number.name)
    assert not (output / "results.json").exists()
    assert main(config) == 0 and (output / "results.json").exists() and sent == [number]
    assert json.loads((output / "rates.json").read_text())


def test_results_are_there_once_the_predictions_are(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell of a sweep that was stopped between the two counted as tested, and no fold could be put together."""

    def stopped(*args: Any) -> None:
        raise Ended(signal.SIGTERM)

    config = ["--cfg", str(write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips, train={"epochs": 1})))]
    with monkeypatch.context() as patched:
        patched.setattr(testing, "_write_predictions", stopped)
        assert main(config) == 130 and not (tmp_path / "out" / "results.json").exists()
    assert main(config) == 0 and tested.Tested(tmp_path / "out").results


def test_refused_runs_take_no_earlier_outcome(finished_run: Path, clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    config = ["--cfg", str(write_config(tmp_path / "c.yaml", toy_config(output, clips, train={"epochs": 1})))]
    assert main([*config, "model.weights", "nowhere.pth"]) == 2
    assert not output.exists()
    shutil.copytree(finished_run, output)
    assert record_in(output).outcome == Outcome.FINISHED
    with only_process_in(output):
        assert main(config) == 2 and main([*config, "model.weights", "nowhere.pth"]) == 2
        assert record_in(output).outcome == Outcome.FINISHED  # of the run that holds the folder
    assert main([*config, "model.weights", "nowhere.pth"]) == 2
    record = record_in(output)
    assert (record.outcome, record.error) == (Outcome.FAILED, "ConfigError") and "nowhere.pth" in str(record.message)


@pytest.mark.slow
def test_killed_and_stopped_runs_are_told_apart(clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    config = write_config(tmp_path / "c.yaml", toy_config(output, clips, train={"epochs": 99}))
    assert stop_after(config, output, 3, signal.SIGUSR2) == 130
    record = record_in(output)
    assert (record.outcome, record.signal) == (Outcome.STOPPED, "SIGUSR2") and record.step and record.step >= 3
    assert not (output / "curves.png").exists()  # drawing takes time that a scheduler may not give
    assert stop_after(config, output, record.step + 3, signal.SIGKILL) == -9
    assert record_in(output).outcome == Outcome.RUNNING


@contextmanager
def joined(rank: int, folder: Path, name: str) -> Iterator[None]:
    """A group of two that is left at the end: a process that ends inside one may be aborted by its threads."""
    dist.init_process_group("gloo", init_method=f"file://{folder / name}", rank=rank, world_size=2)
    try:
        yield
    finally:
        distributed.leave_group()


def fail_on_rank_1(rank: int, folder: Path) -> None:
    try:
        with joined(rank, folder, "first"), OutcomeRecorder(folder):
            if rank == 1:
                raise ZeroDivisionError("rank 1 was first")
            dist.barrier()
    except (ZeroDivisionError, RuntimeError) as error:
        assert isinstance(error, ZeroDivisionError) == (rank == 1)


def diverge_on_rank_1(rank: int, folder: Path) -> None:
    videos = [Video(f"{number}.mp4", Path(f"{number}.mp4"), 0) for number in range(2)]
    accumulator = ViewAccumulator(videos, 1, 1, 3)
    own = [VideoViews(rank, videos[rank], torch.zeros(1, 1, 3, 2, 4, 4, dtype=torch.uint8))]
    with joined(rank, folder, "second"), pytest.raises(NotFinite, match=r"1\.mp4, clip 0, crop 0"):
        evaluate(lambda clips: torch.full((len(clips), 3), np.nan if rank else 1.0), own, accumulator, 4)


def stop_on_rank_1(rank: int, folder: Path) -> None:
    """Its signal ends the validation of both, and rank 0 has its own video seen first."""
    videos = [Video(f"{number}.mp4", Path(f"{number}.mp4"), 0) for number in range(2)]
    accumulator = ViewAccumulator(videos, 1, 1, 3)
    own = [VideoViews(rank, videos[rank], torch.zeros(1, 1, 3, 2, 4, 4, dtype=torch.uint8))]
    seen: list[int] = []

    def forward(clips: torch.Tensor) -> torch.Tensor:
        seen.append(len(clips))
        return torch.zeros(len(clips), 3)

    asked = Interrupted("stopped at step 3", signal.SIGUSR2, 3) if rank else None
    with joined(rank, folder, "third"), pytest.raises(Interrupted, match="stopped at step 3") as caught:
        evaluate(forward, own, accumulator, 4, lambda: asked)
    assert (caught.value.number, caught.value.step, len(seen)) == (signal.SIGUSR2, 3, 1 - rank)


@pytest.mark.slow
def test_the_first_rank_to_fail_is_recorded(tmp_path: Path) -> None:
    mp.spawn(fail_on_rank_1, (tmp_path,), nprocs=2)
    record = record_in(tmp_path)
    assert (record.outcome, record.message) == (Outcome.FAILED, "rank 1 was first")


@pytest.mark.slow
def test_views_that_are_not_finite_end_all_ranks(tmp_path: Path) -> None:
    mp.spawn(diverge_on_rank_1, (tmp_path,), nprocs=2)


@pytest.mark.slow
def test_a_signal_to_one_rank_ends_the_validation_of_all(tmp_path: Path) -> None:
    mp.spawn(stop_on_rank_1, (tmp_path,), nprocs=2)
