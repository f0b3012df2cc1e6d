"""Which checkpoint a run resumes from, and whether it may; then one run for each promise: the same bits, or one clear line."""

import fcntl
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.live_runs import start, stop_after, wait_for_step
from tests.toy_runs import (
    assert_same_run,
    final_weights,
    full_recipe,
    records,
    run,
    toy_config,
    write_config,
)
from videoadapt.cli.train import main
from videoadapt.config.loading import check_config
from videoadapt.errors import CheckpointError, ConfigError, Diverged
from videoadapt.evaluation.views import ViewAccumulator
from videoadapt.runs.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from videoadapt.runs.metrics import MetricsWriter
from videoadapt.runs.run import Run
from videoadapt.training import loop
from videoadapt.training.loop import Trainer
from videoadapt.training.resume import find_resumable, newest_readable
from videoadapt.video.readers import FileNotes

WEIGHTS = torch.randn(50, generator=torch.Generator().manual_seed(0))
VALUES = {"output": "o", "optim": {"lr_per_256": 0.1, "betas": [0.9, 0.999]}, "data": {"workers": 4}}
CONFIG = {**check_config(VALUES).model_dump(mode="json"), "lists": {"train": "a", "val": "b"}}


def cut(path: Path, _: torch.Tensor) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path, weights: torch.Tensor) -> None:
    """One bit in a tensor, where torch itself would not notice."""
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes())] ^= 1
    path.write_bytes(content)


def empty(path: Path, _: torch.Tensor) -> None:
    path.write_bytes(b"")


def names(output: Path) -> list[str]:
    return [path.name for path in list_checkpoints(output)]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A run's folder with checkpoints of steps 8, 9 and 10."""
    for step in (8, 9, 10):
        state = {"step": step, "model": {"w": WEIGHTS + step}, "config": CONFIG, "ranks": 1}
        save_checkpoint(tmp_path / "checkpoints" / f"step_{step:08d}.pt", state)
    return tmp_path


def with_values(**changes: Any) -> dict[str, Any]:
    return {**CONFIG, **{section: {**CONFIG[section], **values} for section, values in changes.items()}}


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_checkpoint_is_passed_over(
    damage: Callable[[Path, torch.Tensor], None], three: Path, log_lines: list[str]
) -> None:
    damage(three / "checkpoints" / "step_00000010.pt", WEIGHTS + 10)
    found = newest_readable(three)
    assert (
        found is not None and found[0].name == "step_00000009.pt" and torch.equal(found[1]["model"]["w"], WEIGHTS + 9)
    )
    (line,) = log_lines
    assert line.startswith("WARNING ") and "step_00000010.pt" in line
    assert line.endswith("; resuming from the one before, step 9")


def test_without_damage_the_newest_counts(three: Path, tmp_path: Path, log_lines: list[str]) -> None:
    found = find_resumable(three, "strict", CONFIG, total_steps=10)
    assert found is not None and found.state["step"] == 10 and found.changed == [] and not log_lines
    assert find_resumable(tmp_path / "nowhere", "never", CONFIG, total_steps=10) is None


def test_all_damaged_is_an_error_that_names_each(three: Path) -> None:
    for path in list_checkpoints(three):
        cut(path, WEIGHTS)
    with pytest.raises(CheckpointError) as error:
        newest_readable(three)
    assert "none of its 3 checkpoints can be read" in str(error.value)
    assert "delete the folder `checkpoints`" in str(error.value)
    assert all(f"step_{step:08d}.pt" in str(error.value) for step in (8, 9, 10))


def test_other_values_are_refused_and_listed(three: Path) -> None:
    now = with_values(optim={"lr_per_256": 0.2}, data={"workers": 0}, lists={"val": "c"})
    with pytest.raises(ConfigError) as error:
        find_resumable(three, "strict", now, total_steps=20)
    first, *listed = error.value.problems
    assert "step_00000010.pt: was trained with other values" in first and "set train.resume force" in first
    assert listed == ["    lists.val: 'b' there, 'c' here", "    optim.lr_per_256: 0.1 there, 0.2 here"]


def test_force_resumes_with_other_values_and_logs_them(three: Path, log_lines: list[str]) -> None:
    found = find_resumable(three, "force", with_values(optim={"lr_per_256": 0.2}), total_steps=20)
    assert found is not None and found.changed == ["optim.lr_per_256"]
    (line,) = log_lines
    assert line.startswith("WARNING ") and "optim.lr_per_256: 0.1 there, 0.2 here" in line


def test_never_refuses_the_folder(three: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.resume = never, but .*step_00000010.pt exists"):
        find_resumable(three, "never", CONFIG, total_steps=20)


def test_past_the_end_is_refused_even_by_force(three: Path) -> None:
    with pytest.raises(ConfigError, match=r"step_00000010.pt: is past the 9 steps of this config; raise train.epochs"):
        find_resumable(three, "force", CONFIG, total_steps=9)


def test_another_number_of_processes_is_a_warning(three: Path, log_lines: list[str]) -> None:
    assert find_resumable(three, "strict", CONFIG, total_steps=10, ranks=4)
    assert log_lines[0].startswith("WARNING saved by 1 process, resuming with 4: ")


@pytest.fixture(scope="module")
def finished(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(config, folder) of a finished run of 10 updates with checkpoints 8, 9, 10."""
    folder = tmp_path_factory.mktemp("finished")
    train = {"epochs": 2, "batch_size": 8, "checkpoint_every_steps": 1, "keep_checkpoints": 3, "ema": 0.9}
    data = {**toy_config(Path(), clips)["data"], "val": {"holdout": 0.17}}
    config = write_config(folder / "c.yaml", toy_config(folder / "out", clips, data=data, train=train))
    assert main(["--cfg", str(config)]) == 0
    assert names(folder / "out") == ["step_00000010.pt", "step_00000009.pt", "step_00000008.pt"]
    return config, folder / "out"


@pytest.fixture
def stopped(finished: tuple[Path, Path], tmp_path: Path) -> tuple[list[str], Path]:
    """(arguments, folder) of a copy of that run, which a test may damage."""
    config, output = finished
    shutil.copytree(output, tmp_path / "out")
    return ["--cfg", str(config), "output", str(tmp_path / "out")], tmp_path / "out"


def test_a_run_resumes_before_the_damage_to_the_same_bits(stopped: tuple[list[str], Path]) -> None:
    arguments, output = stopped
    before, weights = (output / "metrics.jsonl").read_bytes(), final_weights(output)
    flip(output / "checkpoints" / "step_00000010.pt", weights["head.linear.weight"])
    (output / "checkpoints" / ".step_00000010.pt.1.partial").write_bytes(b"x")
    assert main([*arguments, "train.enable", "false"]) == 0  # best.pt is another file
    assert main(arguments) == 0
    log = (output / "run.log").read_text()
    assert "resuming from the one before, step 9" in log and f"step_{9:08d}.pt at step 9 of 10" in log
    assert (output / "metrics.jsonl").read_bytes() == before
    assert [record["step"] for record in records(output)] == list(range(1, 11))
    assert all(torch.equal(weights[name], tensor) for name, tensor in final_weights(output).items())
    assert names(output)[0] == "step_00000010.pt" and not list((output / "checkpoints").glob(".*"))


def test_with_all_damaged_a_run_does_not_start_again(
    stopped: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, output = stopped
    for path in list_checkpoints(output):
        cut(path, WEIGHTS)
    before = (output / "metrics.jsonl").read_bytes()
    assert main(arguments) == 2
    assert "none of its 3 checkpoints can be read" in capsys.readouterr().err
    assert (output / "metrics.jsonl").read_bytes() == before


def test_a_run_with_other_values_needs_force(
    stopped: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, output = stopped
    described = (output / "config.yaml").read_text()
    longer = ["train.epochs=3", "optim.lr_per_256=0.1", "optim.weight_decay=0.3", "data.workers=1"]
    assert main([*arguments, *longer]) == 2
    shown = capsys.readouterr().err
    assert "optim.lr_per_256: 0.05 there, 0.1 here" in shown and "train.epochs: 2 there, 3 here" in shown
    assert "workers" not in shown and "set train.resume force" in shown
    assert (output / "config.yaml").read_text() == described  # the folder still says what its checkpoints are
    assert main([*arguments, *longer, "train.resume", "force"]) == 0
    log = (output / "run.log").read_text()
    assert "optim.lr_per_256: 0.05 there, 0.1 here" in log and "lists" not in log
    assert [record["step"] for record in records(output)] == list(range(1, 16))
    groups = load_checkpoint(list_checkpoints(output)[0])["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.0, 0.3}  # the new value, not the saved one


def assert_one_line_and_intact(shown: str, output: Path, intact: str) -> None:
    assert "Traceback" not in shown and "Logging error" not in shown, shown
    errors = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "cannot be written" in errors[0] and " MB are free" in errors[0], shown
    assert f"{intact} is intact" in errors[0] and "free some space" in errors[0]
    assert names(output)[0] == intact and load_checkpoint(list_checkpoints(output)[0])
    assert not list((output / "checkpoints").glob(".*"))


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint(clips: Path, tmp_path: Path, small_disk: Path) -> None:
    """Filled to the last byte: metrics, TensorBoard and log fail too. Then room is made, and the run is as if undisturbed."""
    output, ballast = small_disk / "run", small_disk / "ballast"
    whole, cut_off = (full_recipe(folder, clips, epochs=3) for folder in (tmp_path / "run", output))
    first, extended = ["train.epochs=1", "test.enable=false"], ["train.resume=force"]
    assert main(["--cfg", str(cut_off), *first]) == 0
    intact = names(output)[0]
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(512))
    assert_one_line_and_intact(run(cut_off, *extended, code=2), output, intact)
    ballast.unlink()
    for arguments in ([str(whole), *first], [str(cut_off), *extended], [str(whole), *extended]):
        assert main(["--cfg", *arguments]) == 0
    assert_same_run(tmp_path / "run", output)


@pytest.mark.slow
def test_a_cut_write_leaves_the_last_checkpoint(clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No file may grow beyond a size between that of the logs and that of a checkpoint."""
    config = full_recipe(tmp_path / "out", clips)
    assert main(["--cfg", str(config), "train.epochs=1", "test.enable=false"]) == 0
    intact = list_checkpoints(tmp_path / "out")[0]
    capfd.readouterr()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (intact.stat().st_size - 8192, before[1]))
    try:
        assert main(["--cfg", str(config), "train.resume=force"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    shown = capfd.readouterr().err
    assert_one_line_and_intact(shown, tmp_path / "out", intact.name)
    assert "it takes about" in shown


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Folder of an undisturbed run of the full recipe with so many ranks."""
    made: dict[int, Path] = {}

    def folder(ranks: int) -> Path:
        if ranks not in made:
            made[ranks] = tmp_path_factory.mktemp("whole") / "run"
            go(full_recipe(made[ranks], clips), ranks=ranks)
        return made[ranks]

    return folder


def go(config: Path, *overrides: str, ranks: int) -> None:
    """A run to its end: in this process, whose start costs more than the updates, unless several have to be started."""
    if ranks > 1:
        run(config, *overrides, ranks=ranks)
    else:
        assert main(["--cfg", str(config), *overrides]) == 0


class Killed(BaseException):
    """Ends a run in the middle, as no error that it could catch."""


@pytest.mark.parametrize("at", ["before the record", "after the record", "after the best"])
@pytest.mark.parametrize("step", [10, 40], ids=["in between", "the last"])
def test_killed_in_a_validation_then_the_same_bits(
    step: int, at: str, clips: Path, tmp_path: Path, whole: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with this validation, and no update before it is made again."""
    config, output = full_recipe(tmp_path / "cut", clips), tmp_path / "cut"
    validate, write, save = loop.validate, MetricsWriter.metrics, Trainer._save

    def killed_before(run: Run, now: int, *further: Any) -> dict[str, Any]:
        if now == step:
            raise Killed
        return validate(run, now, *further)

    def killed_after(writer: MetricsWriter, kind: str, now: int, **values: float) -> None:
        write(writer, kind, now, **values)
        if (kind, now) == ("val", step):
            raise Killed

    def killed_at_the_end(trainer: Trainer, awaits_validation: bool = False) -> None:
        if trainer.step == step and not awaits_validation:
            raise Killed
        save(trainer, awaits_validation)

    with monkeypatch.context() as patched:
        place, name, how = {
            "before the record": (loop, "validate", killed_before),
            "after the record": (MetricsWriter, "metrics", killed_after),
            "after the best": (Trainer, "_save", killed_at_the_end),
        }[at]
        patched.setattr(place, name, how)
        with pytest.raises(Killed):
            main(["--cfg", str(config)])
    go(config, ranks=1)
    assert_same_run(whole(1), output)
    assert f"step_{step:08d}.pt at step {step} of 40" in (output / "run.log").read_text()
    ours, theirs = (load_checkpoint(folder / "checkpoints" / "best.pt") for folder in (output, whole(1)))
    assert (ours["step"], ours["val_top1"]) == (theirs["step"], theirs["val_top1"])
    assert names(output) == names(whole(1))


@pytest.mark.parametrize("when", ["before it", "in the middle of it"])
@pytest.mark.parametrize("step", [10, 40], ids=["in between", "the last"])
def test_a_signal_does_not_wait_for_a_validation(
    step: int, when: str, clips: Path, tmp_path: Path, whole: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm kills soon after it has warned, and a validation may take hours: the next attempt makes it, from its step."""
    config, output = full_recipe(tmp_path / "cut", clips), tmp_path / "cut"
    seen: list[int] = []
    write, validate, note = MetricsWriter.metrics, loop.validate, ViewAccumulator.note

    def warned_before(writer: MetricsWriter, kind: str, now: int, **values: float) -> None:
        write(writer, kind, now, **values)
        if (kind, now) == ("train", step):
            os.kill(os.getpid(), signal.SIGUSR2)

    def warned_meanwhile(accumulator: ViewAccumulator, video: int, notes: FileNotes) -> None:
        note(accumulator, video, notes)
        if seen[-1] == step and video == 2:
            os.kill(os.getpid(), signal.SIGUSR2)

    def noted(run: Run, now: int, *further: Any) -> dict[str, Any]:
        seen.append(now)
        return validate(run, now, *further)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "validate", noted)
        if when == "before it":
            patched.setattr(MetricsWriter, "metrics", warned_before)
        else:
            patched.setattr(ViewAccumulator, "note", warned_meanwhile)
        assert main(["--cfg", str(config)]) == 130
    assert seen == list(range(5, step + (when != "before it"), 5))
    assert [record["step"] for record in records(output, "val")] == list(range(5, step, 5))
    go(config, ranks=1)
    assert_same_run(whole(1), output)
    assert f"step_{step:08d}.pt at step {step} of 40" in (output / "run.log").read_text()
    assert names(output) == names(whole(1))


def test_a_validation_that_diverges_leaves_the_one_before(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one is kept: from there it goes on with another rate."""
    validate = loop.validate

    def diverged_at_ten(run: Run, now: int, *further: Any) -> dict[str, Any]:
        if now == 10:
            raise Diverged(now, "validation", "not finite")
        return validate(run, now, *further)

    monkeypatch.setattr(loop, "validate", diverged_at_ten)
    config, output = full_recipe(tmp_path / "out", clips, keep_checkpoints=1), tmp_path / "out"
    assert main(["--cfg", str(config)]) == 2
    assert names(output) == ["step_00000009.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_anywhere_then_the_same_bits(
    how: signal.Signals, clips: Path, tmp_path: Path, whole: Callable[[int], Path]
) -> None:
    config, output = full_recipe(tmp_path / "cut", clips), tmp_path / "cut"
    assert stop_after(config, output, random.Random(how).randrange(4, 36), how, "data.workers=2") == 130
    assert len(records(output)) < 40
    go(config, ranks=1)
    assert_same_run(whole(1), output)


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "workers"), [(1, (0, 2)), (2, (2,))], ids=["twice", "two ranks"])
def test_killed_anywhere_then_the_same_bits(
    ranks: int, workers: tuple[int, ...], clips: Path, tmp_path: Path, whole: Callable[[int], Path]
) -> None:
    """As often as there are numbers of workers, and each time resumed with another number of them."""
    config, output = full_recipe(tmp_path / "cut", clips), tmp_path / "cut"
    seed = int(os.environ.get("VIDEOADAPT_KILL_SEED", random.randrange(10**6)))
    steps = sorted(random.Random(seed).sample(range(4, 31), len(workers)))  # and not just before the end
    print(f"VIDEOADAPT_KILL_SEED={seed}: killed at steps {steps}")
    for step, number in zip(steps, workers, strict=True):
        assert stop_after(config, output, step, signal.SIGKILL, f"data.workers={number}", ranks=ranks) == -9
        assert len(records(output)) < 40
    go(config, "data.workers=1", ranks=ranks)
    assert_same_run(whole(ranks), output)
    assert (output / "run.log").read_text().count("resuming from") == len(workers)


@pytest.mark.slow
def test_a_second_process_is_refused(clips: Path, tmp_path: Path) -> None:
    """One process or several; and a killed first one leaves no lock, though its loader's processes live on for a moment."""
    config, output = full_recipe(tmp_path / "out", clips, epochs=500), tmp_path / "out"
    with start(config, "data.workers=2") as first:
        wait_for_step(first, output, 2)
        before = (output / "config.yaml").read_bytes()
        for ranks in (1, 2):
            refused = run(config, "optim.lr_per_256=0.1", ranks=ranks, code=2 if ranks == 1 else 1)
            line = f"error: output = {output}: another run is using this folder (process {first.pid} on "
            # the rank that says it first ends, and torchrun then the other one, which may not have come to it
            assert 1 <= refused.count(line) <= ranks and refused.count("Traceback") == ranks - 1  # torchrun's own
            assert (output / "config.yaml").read_bytes() == before and first.poll() is None
        os.kill(first.pid, signal.SIGKILL)  # alone: its loader's processes must not keep the lock
        first.wait(timeout=60)
        with (output / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 and its GradScaler need CUDA")
def test_fp16_resumes_with_the_scale(clips: Path, tmp_path: Path) -> None:
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
