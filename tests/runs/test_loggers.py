"""Every logger gets the numbers of metrics.jsonl, all of them and no others, and none of them can harm a run."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import wandb_files
from tests.live_runs import start, wait_for_step
from tests.outside_loggers import Noting, NotingHere, noted
from tests.toy_runs import records, results, run, toy_config, write_config
from videoadapt import distributed
from videoadapt.config.loading import load_config
from videoadapt.errors import ConfigError
from videoadapt.registry import LOGGERS
from videoadapt.runs import feeds, machine
from videoadapt.runs.feeds import Loggers
from videoadapt.runs.inputs import find_problems
from videoadapt.runs.loggers.wandb import _narrowest
from videoadapt.runs.metrics import MetricsWriter
from videoadapt.runs.outcome import OutcomeRecorder, read_outcome

Numbers = dict[tuple[str, int], float]  # (train/loss, step) -> value


def numbers(output: Path) -> Numbers:
    """All numbers of metrics.jsonl, and of results.json at the last step."""
    lines = [*records(output, "train"), *records(output, "val")]
    found = {
        (f"{line['kind']}/{key}", line["step"]): value
        for line in lines
        for key, value in line.items()
        if key not in ("kind", "step")
    }
    tested = {k: v for k, v in results(output).items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return found | {(f"test/{key}", lines[-1]["step"]): value for key, value in tested.items()}


def in_wandb(output: Path) -> Numbers:
    entries = wandb_files.history(output / "loggers/wandb")
    found = [((key, entry["step"]), value) for entry in entries for key, value in entry.items() if "/" in key]
    assert len(dict(found)) == len(found), "a number came twice"
    return dict(found)


def in_mlflow(client: Any, name: str) -> Numbers:
    keys = client.get_run(name).data.metrics
    found = [((key, m.step), m.value) for key in keys for m in client.get_metric_history(name, key)]
    assert len(dict(found)) == len(found), "a number came twice"
    return dict(found)


def in_tensorboard(output: Path) -> Numbers:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(output / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    return {(key, event.step): event.value for key in board.Tags()["scalars"] for event in board.Scalars(key)}


@pytest.mark.slow
def test_all_three_hold_an_interrupted_run(clips: Path, tmp_path: Path) -> None:
    """Ctrl-C for all of its processes, the same command again, then the test alone: one run in each of them."""
    from mlflow import MlflowClient

    output, uri = tmp_path / "a run", f"sqlite:///{tmp_path}/ml.db"
    asked = ["tensorboard", {"name": "wandb", "project": "motions"}, {"name": "mlflow", "uri": uri}]
    data = {"val": {"holdout": 0.2}}
    config = toy_config(output, clips, data=data, train={"epochs": 8, "loggers": asked})
    path = write_config(tmp_path / "c.yaml", config)
    plain = write_config(tmp_path / "p.yaml", {**config, "output": str(tmp_path / "plain")})
    run(plain, "train.loggers=[]")
    with start(path) as process:
        wait_for_step(process, output, 4)
        process.send_signal(signal.SIGSTOP)  # their imports may take longer than all of the training
        wait_until(lambda: all((output / "loggers" / f"{name}.json").exists() for name in ("wandb", "mlflow")))
        os.killpg(process.pid, signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=300) == 130
    (made,) = MlflowClient(uri).search_runs(["1"])
    assert made.info.status == "KILLED" and made.data.tags["outcome"] == "stopped"
    assert "WARNING train.loggers" not in (output / "run.log").read_text()
    run(path)
    assert (output / "metrics.jsonl").read_bytes() == (tmp_path / "plain/metrics.jsonl").read_bytes()
    expected, client = numbers(output), MlflowClient(uri)
    assert ("val/loss", 5) in expected and ("test/top1", 40) in expected and len(expected) > 150
    assert in_wandb(output) == expected
    (made,) = client.search_runs(["1"])
    assert in_mlflow(client, made.info.run_id) == expected
    board = in_tensorboard(output)
    assert board.keys() == expected.keys()
    assert all(board[key] == np.float32(value) for key, value in expected.items())

    assert (made.info.status, made.info.run_name) == ("FINISHED", "a run")
    assert made.data.params["train.epochs"] == "8" and made.data.params["model.adapter.name"] == "adaptformer"
    assert not [key for key in made.data.params if "loggers" in key]
    begun = wandb_files.settings(output / "loggers/wandb")
    assert len({name for name, _, _ in begun}) == 1 and [project for _, project, _ in begun] == 2 * ["motions"]
    assert begun[0][2]["optim.lr_per_256"] == 0.05
    assert wandb_files.exit_codes(output / "loggers/wandb") == [1, 0]
    assert wandb_files.summary(output / "loggers/wandb")["outcome"] == "finished"

    run(path, "train.enable=false", "test.clips=1")
    again = results(output)
    (made,) = client.search_runs(["1"])
    tests = client.get_metric_history(made.info.run_id, "test/num_views")
    assert sorted(m.value for m in tests) == [3, 6] and again["num_views"] == 3
    assert len(wandb_files.history(output / "loggers/wandb")) == 40 + 8 + 2


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loggers of others are registered, for the time of a test."""
    for name in LOGGERS.names():  # what is imported in a test would be forgotten after it
        LOGGERS.get(name)
    monkeypatch.setattr(LOGGERS._known, "_obj_map", dict(LOGGERS._known._obj_map))
    LOGGERS.register("noting")(Noting)
    LOGGERS.register("noting_here")(NotingHere)


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something that is to be true soon, on a busy machine in minutes."""
    until = time.monotonic() + 300
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def logged(folder: Path, spec: dict[str, Any], steps: int = 8, step: int = 0, error: Exception | None = None) -> None:
    """What a training and its test tell a logger, whose process gets what comes first as it comes."""
    folder.mkdir(exist_ok=True)
    config = toy_config(folder, folder / "clips")
    write_config(folder / "config.yaml", config)
    try:
        with Loggers(folder, [spec]) as loggers, OutcomeRecorder(folder):
            writer = MetricsWriter(folder, step, loggers)
            for done in range(step + 1, step + steps + 1):
                writer.metrics("train", done, loss=1 / done)
                if spec["name"] == "noting" and done <= step + 2:
                    wait_until(lambda: (folder / "noted").exists() and ["train", done] in kinds(folder))  # noqa: B023
            writer.close()
            if error is not None:
                raise error
            loggers.tested("test", {"top1": 50.0, "num_videos": 4, "checkpoint": "x", "ok": True})
            loggers.tested("robustness", {"mean": 40.0, "fog": None})
    except RuntimeError:
        assert error is not None


def kinds(folder: Path) -> list[list[object]]:
    """Every (kind, step) that was noted, in order."""
    return [record[:2] for what, *rest in noted(folder) if what == "add" for record in rest[0]]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("name", ["noting", "noting_here"])
def test_a_logger_of_ones_own(name: str, tmp_path: Path, log_lines: list[str]) -> None:
    logged(tmp_path, {"name": name})
    first, *_, last = noted(tmp_path)
    assert first[:4] == ["begin", None, 0, 2] and last == ["end", "finished"]
    assert (first[4] == os.getpid()) == (name == "noting_here")
    assert kinds(tmp_path) == [*(["train", step] for step in range(1, 9)), ["test", 8], ["robustness", 8]]
    assert not [line for line in log_lines if "loggers" in line]
    assert (tmp_path / "loggers/noting.json").is_file() == (name == "noting")


@pytest.mark.slow
@pytest.mark.usefixtures("outside")
def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """After a failure at step 8 the run resumes from its checkpoint of step 6; then with another logger's settings."""
    logged(tmp_path, {"name": "noting"}, error=RuntimeError("of the run"))
    assert noted(tmp_path)[-1] == ["end", "failed"] and kinds(tmp_path)[-1] == ["train", 8]
    (tmp_path / "noted").unlink()
    logged(tmp_path, {"name": "noting"}, steps=2, step=6)
    assert noted(tmp_path)[0][:3] == ["begin", "mine", 6]
    assert kinds(tmp_path) == [["train", 7], ["train", 8], ["test", 8], ["robustness", 8]]
    (tmp_path / "noted").unlink()
    logged(tmp_path, {"name": "noting", "then": "go on and on"}, steps=1, step=8)
    assert noted(tmp_path)[0][:3] == ["begin", None, 8]
    assert kinds(tmp_path) == [*(["train", step] for step in range(1, 10)), ["test", 9], ["robustness", 9]]


@pytest.mark.slow
@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("fail", "ValueError: the server says no ({}/loggers/noting.log); metrics.jsonl has them all"),
        ("die", "its process was killed ({}/loggers/noting.log)"),
        ("hang", "it has not sent what is left in 0.5 s; see its log"),
    ],
)
def test_one_that_fails_costs_a_warning(
    then: str, said: str, tmp_path: Path, log_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if then == "hang":
        monkeypatch.setattr(feeds, "_END_SEC", 0.5)
    before = set(threading.enumerate())
    logged(tmp_path, {"name": "noting", "then": then})
    (line,) = [line for line in log_lines if "loggers" in line]
    assert line.startswith(
        f"WARNING train.loggers: noting gets no further numbers of {tmp_path}: {said.format(tmp_path)}"
    )
    assert len(records(tmp_path)) == 8 and set(threading.enumerate()) <= before
    outcome = read_outcome(tmp_path)
    assert outcome is not None and outcome.outcome == "finished"
    pid = noted(tmp_path)[0][4]
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("outside")
def test_one_in_the_same_process_that_fails(tmp_path: Path, log_lines: list[str]) -> None:
    logged(tmp_path, {"name": "noting_here", "then": "fail"})
    (line,) = [line for line in log_lines if "loggers" in line]
    assert "noting_here gets no further numbers" in line and "ValueError: the server says no; metrics" in line
    assert len(kinds(tmp_path)) == 2 and len(records(tmp_path)) == 8


@pytest.mark.usefixtures("outside")
def test_only_the_first_rank_has_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    with Loggers(tmp_path, [{"name": "noting_here"}, {"name": "noting"}]) as loggers:
        loggers.begin(0)
        loggers.tested("test", {"top1": 1.0})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_server_that_is_gone(tmp_path: Path, log_lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as kept:  # nobody listens there, and no other process is given that port
        kept.bind(("127.0.0.1", 0))
        logged(tmp_path, {"name": "mlflow", "uri": f"http://127.0.0.1:{kept.getsockname()[1]}"})
    (line,) = [line for line in log_lines if "loggers" in line]
    assert "mlflow gets no further numbers" in line and "Max retries exceeded" in line


def is_used(folder: Path) -> Iterator[bool]:
    """Whether each process that may be looked at has a file open below a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield any(file.resolve().is_relative_to(folder) for file in (process / "fd").iterdir())


@pytest.mark.slow
def test_a_full_disk_ends_no_run(small_disk: Path, tmp_path: Path, log_lines: list[str]) -> None:
    (tmp_path / "loggers").symlink_to(small_disk)
    (small_disk / "ballast").write_bytes(bytes((1 << 20) - (64 << 10)))
    logged(tmp_path, {"name": "wandb"}, steps=3000)
    (line,) = [line for line in log_lines if "wandb gets no further numbers" in line]
    assert "No space left on device" in line
    while any(is_used(small_disk)):  # by its server, which ends when it sees that nobody is there
        time.sleep(0.1)
    assert len(records(tmp_path)) == 3000


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Whatever goes out comes here, and nowhere else: Go's and Python's libraries both ask these variables."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(ConnectionResetError):  # by a client that was killed
                    heard.append(connection.recv(1000))

        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        thread = threading.Thread(target=listen)
        thread.start()
        yield heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.slow
def test_nothing_goes_out_unasked(
    proxy: list[bytes], clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # of the client that reads here
    for name in ("CI", "PYTEST_CURRENT_TEST", "WANDB_MODE", "DO_NOT_TRACK"):  # where MLflow reports nothing anyway
        monkeypatch.delenv(name, raising=False)
    config = toy_config(tmp_path / "out", clips, train={"epochs": 1})
    path = write_config(tmp_path / "c.yaml", config)
    run(path, f"train.loggers=[wandb, {{name: mlflow, uri: '{tmp_path}/mlruns'}}]")
    assert proxy == [] and in_wandb(tmp_path / "out") == numbers(tmp_path / "out")
    from mlflow import MlflowClient

    client = MlflowClient(str(tmp_path / "mlruns"))
    (made,) = client.search_runs([client.get_experiment_by_name("videoadapt").experiment_id])
    assert in_mlflow(client, made.info.run_id) == numbers(tmp_path / "out")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for end_sec in (5.0, 30.0, 120.0):  # that it may try for: on a busy machine its imports take longer than it does
        monkeypatch.setattr(feeds, "_END_SEC", end_sec)
        logged(tmp_path / f"online {end_sec:g}", {"name": "wandb", "mode": "online"})
        if any(b"CONNECT" in request for request in proxy):
            return
    raise AssertionError("the proxy would show nothing")


@pytest.mark.parametrize(
    ("key", "variable", "mode"),
    [
        (None, None, "offline"),
        (None, "online", "online"),
        (None, "shared", "online"),
        (None, "dryrun", "offline"),
        (None, "anything", "offline"),
        ("online", None, "online"),
        ("online", "offline", "offline"),
        ("online", "disabled", "disabled"),
        ("offline", "online", "offline"),
        ("disabled", "online", "disabled"),
    ],
)
def test_the_narrower_of_key_and_variable_counts(key: Any, variable: str | None, mode: str) -> None:
    assert _narrowest(key, variable) == mode


def problems(folder: Path, clips: Path, loggers: str) -> list[str]:
    """What a config's loggers get wrong."""
    path = write_config(folder / "c.yaml", toy_config(folder / "out", clips))
    try:
        return find_problems(load_config(path, [f"train.loggers={loggers}"]))[1]
    except ConfigError as error:
        return [problem.removeprefix(f"{path}: ") for problem in error.problems]


@pytest.mark.parametrize(
    ("loggers", "said"),
    [
        (
            "wandb",
            "train.loggers = 'wandb': expected a list; write [wandb], in quotes on a command line; allowed in it: mlflow, tens",
        ),
        ("[wnadb]", "train.loggers.0.name = 'wnadb': did you mean 'wandb'?"),
        (
            "[{project: p}]",
            "train.loggers.0 = {'project': 'p'}: expected a mapping with a `name`; allowed: mlflow, tens",
        ),
        (
            "[{name: wandb, mode: online_}]",
            "train.loggers.0.mode = 'online_': input should be 'disabled', 'offline' or",
        ),
        ("[mlflow, {name: mlflow, uri: x}]", "train.loggers: names mlflow twice; take one of them out"),
    ],
)
def test_wrong_loggers_are_one_line(loggers: str, said: str, clips: Path, tmp_path: Path) -> None:
    (line,) = problems(tmp_path, clips, loggers)
    assert line.startswith(said)


def test_a_package_that_is_missing(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(tmp_path, clips, "[mlflow, tensorboard]") == []
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert problems(tmp_path, clips, "[mlflow, tensorboard]") == [
        "train.loggers: mlflow needs the package mlflow, which is not installed: pip install 'videoadapt[mlflow]', or take it "
        "out"
    ]
    assert problems(tmp_path, clips, "[]") == problems(tmp_path, clips, "[tensorboard]") == []
