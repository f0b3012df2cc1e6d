"""Going on after kills, damage, full disks and changed configs: the same bits, or one clear line."""

import errno
import fcntl
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toy_runs import (
    REPOSITORY,
    assert_same_run,
    command,
    environment,
    final_weights,
    records,
    run,
    toy_config,
    write_config,
)
from videoadapt.cli.train import main
from videoadapt.errors import CheckpointError
from videoadapt.runs import checkpoint
from videoadapt.runs.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint

AUGMENT = {
    "crop": "random_resized",
    "rand_augment": "rand-m7-n4-mstd0.5-inc1",
    "erasing": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
}  # the toy model has dropout in adapter and head


def full_recipe(output: Path, clips: Path, **changes: Any) -> Path:
    """Everything on that has a state or draws numbers; 40 updates, a validation every 5, a checkpoint every 3."""
    data = {**toy_config(Path(), clips)["data"], "augment": AUGMENT, "val": {"holdout": 0.17}}
    training = {"epochs": 8, "batch_size": 8, "accumulate": 2, "ema": 0.9, "checkpoint_every_steps": 3, **changes}
    return write_config(output.with_suffix(".yaml"), toy_config(output, clips, data=data, train=training))


@pytest.fixture
def stopped(clips: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(config, folder) of a finished run of 10 updates with checkpoints 8, 9, 10, about to be damaged."""
    train = {"epochs": 2, "batch_size": 8, "checkpoint_every_steps": 1, "keep_checkpoints": 3, "ema": 0.9}
    data = {**toy_config(Path(), clips)["data"], "val": {"holdout": 0.17}}
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips, data=data, train=train))
    assert main(["--cfg", str(config)]) == 0
    assert names(tmp_path / "out") == ["step_00000010.pt", "step_00000009.pt", "step_00000008.pt"]
    return config, tmp_path / "out"


def names(output: Path) -> list[str]:
    return [path.name for path in list_checkpoints(output)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit in the middle: in a tensor, where torch itself would not notice."""
    content = bytearray(path.read_bytes())
    at = content.index(final_weights(path.parent.parent)["head.linear.weight"].numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    path, state = tmp_path / "x.pt", {"model": {"w": torch.randn(500)}, "step": 7}
    save_checkpoint(path, state)
    content, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:  # padding between the records
            assert torch.equal(loaded["model"]["w"], state["model"]["w"]) and loaded["step"] == 7
    assert refused > 200


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.write_bytes(b"")], ids=["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    damage: Callable[[Path], None], stopped: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = stopped
    before, weights = (output / "metrics.jsonl").read_bytes(), final_weights(output)
    damage(output / "checkpoints" / "step_00000010.pt")
    (output / "checkpoints" / ".step_00000010.pt.1.partial").write_bytes(b"x")
    assert main(["--cfg", str(config), "train.enable", "false"]) == 0  # best.pt is another file
    assert main(["--cfg", str(config)]) == 0
    log = (output / "run.log").read_text()
    warning = next(line for line in log.splitlines() if "resuming from the one before" in line)
    assert "WARNING" in warning and "step_00000010.pt" in warning and "step 9" in warning
    assert (output / "metrics.jsonl").read_bytes() == before
    assert [record["step"] for record in records(output)] == list(range(1, 11))
    assert all(torch.equal(weights[name], tensor) for name, tensor in final_weights(output).items())
    assert names(output)[0] == "step_00000010.pt" and not list((output / "checkpoints").glob(".*"))


def test_all_damaged_is_an_error_and_no_start_from_zero(
    stopped: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = stopped
    for path in list_checkpoints(output):
        cut(path)
    before = (output / "metrics.jsonl").read_bytes()
    assert main(["--cfg", str(config)]) == 2
    shown = capsys.readouterr().err
    assert "none of its 3 checkpoints can be read" in shown and "delete the folder `checkpoints`" in shown
    assert all(f"step_{step:08d}.pt" in shown for step in (8, 9, 10))
    assert (output / "metrics.jsonl").read_bytes() == before


def test_what_was_passed_over_does_not_crowd_out_the_new(tmp_path: Path) -> None:
    for step in (5, 9, 10):
        checkpoint.save_checkpoint(tmp_path / "checkpoints" / f"step_{step:08d}.pt", {"step": step})
    checkpoint.save_newest(tmp_path, {"step": 6}, keep=2)
    assert names(tmp_path) == ["step_00000006.pt", "step_00000005.pt"]


def test_old_checkpoints_stay_until_the_new_one_is_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save_newest(tmp_path, {"step": 1}, keep=1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"step_00000002.pt: cannot be written.*step_00000001.pt is intact"):
        checkpoint.save_newest(tmp_path, {"step": 2}, keep=1)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000001.pt"]


def test_other_values_are_listed_and_refused_unless_forced(
    stopped: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = stopped
    described = (output / "config.yaml").read_text()
    longer = ["train.epochs=3", "optim.lr_per_256=0.1", "optim.weight_decay=0.3", "data.workers=1"]
    assert main(["--cfg", str(config), *longer]) == 2
    shown = capsys.readouterr().err
    assert "optim.lr_per_256: 0.05 there, 0.1 here" in shown and "train.epochs: 2 there, 3 here" in shown
    assert "workers" not in shown and "set train.resume force" in shown
    assert (output / "config.yaml").read_text() == described  # the folder still says what its checkpoints are
    assert main(["--cfg", str(config), "train.resume", "never"]) == 2
    assert "train.resume = never" in capsys.readouterr().err
    assert main(["--cfg", str(config), *longer, "train.resume", "force"]) == 0
    log = (output / "run.log").read_text()
    assert "optim.lr_per_256: 0.05 there, 0.1 here" in log and "lists" not in log
    assert [record["step"] for record in records(output)] == list(range(1, 16))
    groups = load_checkpoint(list_checkpoints(output)[0])["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.0, 0.3}  # the new value, not the saved one
    for overrides, complaint in {
        ("train.epochs=1",): "is past the 5 steps",
        ("optim.name=sgd", "train.epochs=3"): "optim.name, and optim.layer_decay",
        ("model.adapter.bottleneck=8", "train.epochs=3"): "does not fit this model",
    }.items():
        assert main(["--cfg", str(config), *overrides, "train.resume=force"]) == 2
        assert complaint in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def assert_one_line_and_intact(done: subprocess.CompletedProcess[str], output: Path, intact: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and "Logging error" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "cannot be written" in errors[0] and " MB are free" in errors[0], done.stderr
    assert f"{intact} is intact" in errors[0] and "make room" in errors[0]
    assert names(output)[0] == intact and load_checkpoint(list_checkpoints(output)[0])
    assert not list((output / "checkpoints").glob(".*"))


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint_and_says_so(clips: Path, tmp_path: Path, small_disk: Path) -> None:
    """Filled to the last byte: metrics, TensorBoard and log fail too. Then room is made, and the run is as if undisturbed."""
    output, ballast = small_disk / "run", small_disk / "ballast"
    whole, cut_off = (full_recipe(folder, clips, epochs=3) for folder in (tmp_path / "run", output))
    run(cut_off, "train.epochs=1", "test.enable=false")
    extended = ["train.resume=force"]
    intact = names(output)[0]
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(512))
    failing = subprocess.run(
        command(cut_off, *extended), cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert_one_line_and_intact(failing, output, intact)
    ballast.unlink()
    run(whole, "train.epochs=1", "test.enable=false")
    run(cut_off, *extended)
    run(whole, *extended)
    assert_same_run(tmp_path / "run", output)


@pytest.mark.slow
def test_a_cut_write_leaves_the_last_checkpoint_and_says_so(clips: Path, tmp_path: Path) -> None:
    """No file may grow beyond a size between that of the logs and that of a checkpoint."""
    config = full_recipe(tmp_path / "out", clips)
    run(config, "train.epochs=1", "test.enable=false")
    intact = list_checkpoints(tmp_path / "out")[0]
    limit = intact.stat().st_size // 1024 - 8
    shell = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "bash"]
    arguments = command(config, "train.resume=force")
    done = subprocess.run([*shell, *arguments], cwd=REPOSITORY, env=environment(), capture_output=True, text=True)
    assert_one_line_and_intact(done, tmp_path / "out", intact.name)
    assert "it takes about" in done.stderr


@contextmanager
def start(config: Path, *overrides: str, ranks: int = 1) -> "Iterator[subprocess.Popen[str]]":
    """A run in a session of its own, ended with the block whatever happens in it."""
    process = subprocess.Popen(
        command(config, *overrides, ranks=ranks),
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            for pid in (process.pid, *descendants(process.pid)):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=60)


def wait_for_step(process: "subprocess.Popen[str]", output: Path, step: int) -> None:
    metrics, deadline = output / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
        assert time.monotonic() < deadline and process.poll() is None, f"the run did not reach step {step}"
        time.sleep(0.005)


def stop_after(config: Path, output: Path, step: int, how: signal.Signals, *overrides: str, ranks: int = 1) -> int:
    """Start a run, signal all its processes once `step` is in metrics.jsonl, return the exit code."""
    with start(config, *overrides, ranks=ranks) as process:
        wait_for_step(process, output, step)
        for pid in {process.pid, *(descendants(process.pid) if ranks > 1 else ())}:  # torchrun gives ranks new sessions
            os.killpg(pid, how) if os.getpgid(pid) == pid else os.kill(pid, how)
        return process.wait(timeout=60)


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, the children first."""
    children = [int(name) for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(deeper for child in children for deeper in descendants(child))]


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Folder of an undisturbed run of the full recipe with so many ranks."""
    made: dict[int, Path] = {}

    def folder(ranks: int) -> Path:
        if ranks not in made:
            made[ranks] = tmp_path_factory.mktemp("whole") / "run"
            run(full_recipe(made[ranks], clips), ranks=ranks)
        return made[ranks]

    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_anywhere_and_run_again_gives_the_same_bits(
    how: signal.Signals, clips: Path, tmp_path: Path, whole: Callable[[int], Path]
) -> None:
    config, output = full_recipe(tmp_path / "cut", clips), tmp_path / "cut"
    assert stop_after(config, output, random.Random(how).randrange(4, 36), how, "data.workers=2") == 130
    assert len(records(output)) < 40
    run(config)
    assert_same_run(whole(1), output)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_twice_with_other_workers_each_time_gives_the_same_bits(
    ranks: int, clips: Path, tmp_path: Path, whole: Callable[[int], Path]
) -> None:
    config, output = full_recipe(tmp_path / "cut", clips), tmp_path / "cut"
    seed = int(os.environ.get("VIDEOADAPT_KILL_SEED", random.randrange(10**6)))
    steps = sorted(random.Random(seed).sample(range(4, 37), 2))
    print(f"VIDEOADAPT_KILL_SEED={seed}: killed at steps {steps}")
    for step, workers in zip(steps, (0, 2), strict=True):
        assert stop_after(config, output, step, signal.SIGKILL, f"data.workers={workers}", ranks=ranks) == -9
        assert len(records(output)) < 40
    run(config, "data.workers=1", ranks=ranks)
    assert_same_run(whole(ranks), output)
    assert (output / "run.log").read_text().count("resuming from") == 2


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_second_process_is_refused_until_the_first_is_gone(ranks: int, clips: Path, tmp_path: Path) -> None:
    config, output = full_recipe(tmp_path / "out", clips, epochs=500), tmp_path / "out"
    with start(config, "data.workers=2") as first:
        wait_for_step(first, output, 2)
        before = (output / "config.yaml").read_bytes()
        refused = run(config, "optim.lr_per_256=0.1", ranks=ranks, code=2 if ranks == 1 else 1)
        line = f"error: output = {output}: another run is at work there (process {first.pid} on "
        assert refused.count(line) == ranks and refused.count("Traceback") == ranks - 1  # torchrun's own
        assert (output / "config.yaml").read_bytes() == before and first.poll() is None
        os.kill(first.pid, signal.SIGKILL)  # alone: its loader's processes must not keep the lock
        first.wait(timeout=60)
        with (output / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 and its GradScaler need CUDA")
def test_fp16_goes_on_with_the_scale(clips: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "whole", tmp_path / "cut"
    configs = [full_recipe(output, clips, precision="fp16") for output in outputs]
    gpu = ["device=cuda", "test.enable=false"]
    run(configs[0], *gpu)
    stop_after(configs[1], outputs[1], 17, signal.SIGKILL, *gpu)
    scale = load_checkpoint(list_checkpoints(outputs[1])[0])["scaler"]["scale"]
    assert scale > 1
    run(configs[1], *gpu)
    one, other = records(outputs[0]), records(outputs[1])
    assert [record["step"] for record in one] == [record["step"] for record in other]
    assert [record["loss"] for record in other] == pytest.approx([record["loss"] for record in one], abs=1e-3)
    states = [load_checkpoint(list_checkpoints(output)[0])["scaler"] for output in outputs]
    assert states[0] == states[1]
