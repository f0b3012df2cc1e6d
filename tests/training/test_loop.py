"""Training, testing and resuming through the front door, on real rendered files."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.toy_runs import assert_same_run, records, results, run, toy_config, write_config
from videoadapt.cli.train import main
from videoadapt.runs.outcome import Outcome, read_outcome
from videoadapt.training import build, classification
from videoadapt.training.classification import Classification


def test_a_run_leaves_what_it_promises(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    config = write_config(
        tmp_path / "c.yaml", toy_config(output, clips, data={**data(clips), "val": {"holdout": 0.17}})
    )
    assert main(["--cfg", str(config), "train.ema", "0.9", "train.epochs=3"]) == 0
    shown = capsys.readouterr().out
    assert "top-1" in shown and str(output) in shown and "videoadapt demo" in shown
    expected = "config.yaml classes.txt run.log metrics.jsonl timing.jsonl phases.jsonl report.html tensorboard "
    expected += "curves.png confusion.png per_class.csv "
    for name in (
        expected
        + "results.json predictions.npz checkpoints/step_00000010.pt checkpoints/step_00000015.pt checkpoints/best.pt"
    ).split():
        assert (output / name).exists(), name
    assert [record["step"] for record in records(output)] == list(
        range(1, 16)
    )  # 40 clips left, 5 batches of 8, 3 epochs
    assert [record["step"] for record in records(output, "val")] == [5, 10, 15]
    result = results(output)
    saved = np.load(output / "predictions.npz")
    assert saved["view_logits"].shape == (16, 6, 8) and result["num_videos"] == 16 and result["num_views"] == 6
    np.testing.assert_allclose(saved["scores"], saved["view_logits"].mean(1), atol=1e-6)
    assert result["top1"] == 100 * np.mean(saved["scores"].argmax(1) == saved["label"])
    assert result["checkpoint"] == "checkpoints/best.pt" and result["checkpoint_step"] in (5, 10, 15)
    # Testing alone gives the same numbers, and a finished run does not train again.
    before = (output / "results.json").read_bytes()
    assert main(["--cfg", str(config), "train.ema", "0.9", "train.epochs=3", "train.enable", "false"]) == 0
    assert (output / "results.json").read_bytes() == before
    assert main(["--cfg", str(config), "train.ema", "0.9", "train.epochs=3", "test.enable=false"]) == 0
    assert len(records(output)) == 15


@pytest.mark.slow
def test_validation_with_the_views_of_the_test_is_the_test(clips: Path, tmp_path: Path) -> None:
    """On the same list, the best validation's top-1 is that of results.json, and one view stays the default."""
    found = []
    for name, views in {"one": {}, "six": {"validate_clips": 2, "validate_crops": 3}}.items():
        changes = {"data": data(clips, val="test"), "train": {"epochs": 2, "batch_size": 16, **views}}
        output = tmp_path / name
        assert main(["--cfg", str(write_config(tmp_path / f"{name}.yaml", toy_config(output, clips, **changes)))]) == 0
        found.append((records(output), records(output, "val")))
    assert found[0][0] == found[1][0]
    six = found[1][1]
    assert max(record["top1"] for record in six) == results(tmp_path / "six")["top1"]
    assert results(output)["num_val_in_test"] == 16
    # a test alone reads no validation list
    for overrides, counted in (([], 16), (["data.test=train"], None), ([], None)):
        assert main(["--cfg", str(tmp_path / "six.yaml"), "train.enable=false", *overrides]) == 0
        assert results(output)["num_val_in_test"] == counted
    saved = np.load(tmp_path / "six" / "predictions.npz")
    logits_NVK = saved["view_logits"].astype(float)
    right_NV = logits_NVK[np.arange(16), :, saved["label"]]
    loss = float((np.log(np.exp(logits_NVK).sum(-1)) - right_NV).mean())
    best = max(six, key=lambda record: record["top1"])
    assert best["loss"] == pytest.approx(loss, abs=1e-6)  # as rounded
    assert [record["loss"] for record in found[0][1]] != [record["loss"] for record in six]
    log = (tmp_path / "six" / "run.log").read_text()
    assert (
        f"step {best['step']}: validation top-1 {best['top1']:.2f} %, loss {best['loss']:.4f} (2 x 3 views each)" in log
    )


@pytest.mark.slow
def test_a_training_stops_early_and_stays_stopped(clips: Path, tmp_path: Path) -> None:
    """The rate of 1e-30 changes no answer: the first validation stays the best, and two epochs later it is over."""
    optim = {"name": "sgd", "lr_per_256": 1e-30, "warmup_epochs": 0}
    training = {"epochs": 6, "batch_size": 16, "stop_early": {"patience_epochs": 2}}
    model = {"head": {"batch_norm": False}}
    output, plain = tmp_path / "run", tmp_path / "plain"
    changes = {"data": data(clips, val="test"), "optim": optim, "model": model}
    path = write_config(tmp_path / "c.yaml", toy_config(output, clips, train=training, **changes))
    assert main(["--cfg", str(path)]) == 0
    outcome = read_outcome(output)
    assert outcome is not None and (outcome.outcome, outcome.stopped_early_at) == (Outcome.FINISHED, 9)
    assert [record["step"] for record in records(output, "val")] == [3, 6, 9] and len(records(output)) == 9
    assert results(output)["checkpoint"] == "checkpoints/best.pt" and (output / "adapter.safetensors").exists()
    log = (output / "run.log").read_text()
    best = records(output, "val")[0]["top1"]
    assert (
        f"stopped early at step 9 of 18: the validation's top1 has been no better for 2 epochs than {best} at step 3"
        in log
    )

    # the same command trains no more, and says so again
    before = (output / "results.json").read_bytes()
    assert main(["--cfg", str(path)]) == 0
    outcome = read_outcome(output)
    assert outcome is not None and (outcome.outcome, outcome.stopped_early_at) == (Outcome.FINISHED, 9)
    assert len(records(output)) == 9 and (output / "results.json").read_bytes() == before

    # what was computed until then is what the whole training computes: the schedule knows nothing of it
    whole = write_config(
        tmp_path / "plain.yaml", toy_config(plain, clips, train={"epochs": 6, "batch_size": 16}, **changes)
    )
    assert main(["--cfg", str(whole)]) == 0
    assert records(plain)[:9] == records(output) and len(records(plain)) == 18
    outcome = read_outcome(plain)
    assert outcome is not None and outcome.stopped_early_at is None

    # more patience goes on where it stopped
    more = ["train.stop_early.patience_epochs=4", "train.resume=force"]
    assert main(["--cfg", str(path), *more]) == 0
    assert records(plain)[:15] == records(output)


def data(clips: Path, **changes: object) -> dict[str, object]:
    return {**toy_config(Path(), clips)["data"], **changes}


def test_reading_in_other_processes_gives_the_same_bits(finished_run: Path, tmp_path: Path) -> None:
    again = ["--cfg", str(finished_run / "config.yaml"), f"output={tmp_path / 'out'}"]
    assert main([*again, "data.workers=2"]) == 0
    assert_same_run(finished_run, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activation_checkpointing_gives_the_same_bits(clips: Path, tmp_path: Path, precision: str) -> None:
    for name in "ab":
        train = {"epochs": 2, "precision": precision, "activation_checkpointing": name == "b"}
        config = write_config(tmp_path / f"{name}.yaml", toy_config(tmp_path / name, clips, train=train))
        assert main(["--cfg", str(config)]) == 0
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("compiled", [False, True])
def test_a_compiled_training_normalises_compiled(
    compiled: bool, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which a GPU alone does; that the blocks are compiled has tests of its own."""
    said: set[bool] = set()
    normalise = classification.normalise
    monkeypatch.setattr(
        classification, "normalise", lambda *given, compiled: said.add(compiled) or normalise(*given, compiled=compiled)
    )
    monkeypatch.setattr(build, "compile_blocks", lambda model: None)
    config = toy_config(tmp_path / "out", clips, train={"compile": compiled}, test={"enable": False})
    assert main(["--cfg", str(write_config(tmp_path / "config.yaml", config))]) == 0
    assert said == {compiled}


def test_nothing_to_test_says_so(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))
    assert main(["--cfg", str(config), "train.enable", "false"]) == 2
    assert "holds no checkpoint to test" in capsys.readouterr().err


def test_missing_files_are_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "configs/hmdb51_adapt.yaml", "output", str(tmp_path / "out"), "data.root", "nowhere"]) == 2
    shown = capsys.readouterr().err
    assert "data.root = nowhere: 3570 of the 3570 videos of data.train are not there" in shown
    assert "1530 of the 1530 videos of data.test" in shown
    assert "model.weights = weights/videomae_pretrain_vit_b_k400_1600e.pth" in shown
    assert shown.count("where to get it") == 3
    assert not (tmp_path / "out").exists()


def test_batches_that_cannot_be(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))
    for overrides, expected in {
        ("train.batch_size", "49"): "no full batch",
        ("train.batch_size", "9", "train.accumulate", "2"): "not divisible by 1 rank x train.accumulate 2",
        ("train.batch_size", "4", "train.accumulate", "4"): "BatchNorm in the head needs two",
    }.items():
        assert main(["--cfg", str(config), *overrides]) == 2
        assert expected in capsys.readouterr().err


def test_divergence_stops_with_step_and_video(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = {**toy_config(Path(), clips)["model"], "head": {"batch_norm": False}, "adapter": {"name": "full"}}
    changes = {"model": model, "optim": {"name": "sgd", "lr_per_256": 1e30, "warmup_epochs": 0}}
    one_step = ["train.epochs", "1", "train.batch_size", "48", "data.val", "test"]
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips, **changes))
    assert main(["--cfg", str(config), *one_step]) == 2
    assert re.search(
        r"(?m)^error: step 1: validation: test/.*mp4, .*: not all logits are finite", capsys.readouterr().err
    )
    assert not list((tmp_path / "out").glob("checkpoints/*"))  # nothing to go on from
    record = read_outcome(tmp_path / "out")
    assert record is not None and (record.outcome, record.step, record.phase) == (Outcome.DIVERGED, 1, "validation")


@pytest.mark.parametrize("validated", [True, False])
def test_no_checkpoint_holds_weights_that_are_not_finite(
    validated: bool, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient is NaN beside a finite loss: the checkpoint that is saved before a validation tells it, as any other."""
    compute, calls = Classification.__call__, []

    def steep_at_third(self: Classification, *args: Any) -> dict[str, Tensor]:
        sums = compute(self, *args)
        calls.append(None)
        return {**sums, "loss": sums["loss"] + (0 * sums["loss"]).sqrt()} if len(calls) == 3 else sums

    monkeypatch.setattr(Classification, "__call__", steep_at_third)
    val = ["data.val", "test", "train.batch_size", "16"] if validated else ["train.batch_size", "8"]
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))
    assert main(["--cfg", str(config), "train.checkpoint_every_steps", "1", *val]) == 2
    expected = "error: step 3: the losses were finite, but the weights are not"
    assert expected in capsys.readouterr().err
    checkpoints = sorted(path.name for path in (tmp_path / "out" / "checkpoints").glob("step_*.pt"))
    assert checkpoints == ["step_00000001.pt", "step_00000002.pt"]
    record = read_outcome(tmp_path / "out")
    assert record is not None and (record.outcome, record.step) == (Outcome.DIVERGED, 3)


@pytest.fixture
def broken(clips: Path, tmp_path: Path) -> dict[str, object]:
    """Lists with awkward file names, of which one training and one test file hold no video."""
    from videoadapt.registry import DATASETS

    names = {}
    for split, number in (("train", 24), ("test", 8)):
        videos = DATASETS.build(toy_config(Path(), clips)["data"]["dataset"]).load(split, clips)[::2]
        rows = []
        for i, video in enumerate(videos[:number]):
            name = f"{split} [{i}] (Grüße, 日本).mp4"
            (tmp_path / name).write_bytes(video.path.read_bytes() if i != 3 else b"this is no video")
            rows.append(f"{name} {video.label}\n")
        (tmp_path / f"{split}.csv").write_text("".join(rows), encoding="utf-8")
        names[split] = str(tmp_path / f"{split}.csv")
    return {**data(clips), "dataset": {"name": "video_list"}, "root": str(tmp_path), "classes": 8, **names}


def test_unreadable_files(broken: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    config = write_config(tmp_path / "c.yaml", toy_config(output, tmp_path, data={**broken, "max_unreadable": 0.05}))
    assert main(["--cfg", str(config), "train.epochs=1"]) == 3
    said = capsys.readouterr()
    assert f"1 of the 8 videos of data.test cannot be read and count as wrong; {output}" in said.err
    assert "8 videos x 6 views; checkpoints/" in said.out
    record = read_outcome(output)
    assert record is not None and (record.outcome, record.error) == (Outcome.FAILED, "TooManyUnreadable")
    log = (output / "run.log").read_text(encoding="utf-8")
    assert log.count("training skips train [3] (Grüße, 日本).mp4 of data.train, line 4: ") == 1
    assert "skipped 1 of 24 training videos that could not be read (4.2 %; reasons above)" in log
    assert "cannot be read, counts as wrong: test [3] (Grüße, 日本).mp4" in log
    result = results(output)
    assert result["num_unreadable"] == 1 and result["unreadable"][0]["video"] == "test [3] (Grüße, 日本).mp4"
    assert result["num_videos"] == 8 and result["readable_only"]["top1"] is not None
    assert np.isnan(np.load(output / "predictions.npz")["view_logits"][3]).all()
    assert main(["--cfg", str(config), "train.epochs=1", "test.max_unreadable", "0.2"]) == 0
    capsys.readouterr()


def test_a_pipe_among_the_test_videos_costs_no_result(
    broken: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test [3] (Grüße, 日本).mp4").unlink()
    os.mkfifo(tmp_path / "test [3] (Grüße, 日本).mp4")
    values = {"data": {**broken, "max_unreadable": 0.05}, "train": {"epochs": 1, "batch_size": 8}}
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", tmp_path, **values))
    assert main(["--cfg", str(config), "test.max_unreadable", "0.5"]) == 0
    result = results(tmp_path / "out")
    assert result["num_unreadable"] == 1 and "is no regular file" in result["unreadable"][0]["reason"]
    capsys.readouterr()


@pytest.mark.slow
def test_two_ranks_train_and_test_like_one(clips: Path, tmp_path: Path) -> None:
    """Same global batch, shared BatchNorm statistics, no dropout: equal up to the order of float32 sums."""
    model = toy_config(Path(), clips)["model"]
    model |= {"adapter": {"name": "adaptformer", "bottleneck": 4}, "head": {"batch_norm": True, "sync": True}}
    changes = {
        "model": model,
        "train": {"epochs": 4, "accumulate": 2},
        "optim": {"name": "sgd", "lr_per_256": 0.5, "warmup_epochs": 1},
    }
    one = write_config(tmp_path / "one.yaml", toy_config(tmp_path / "one", clips, **changes))
    two = write_config(tmp_path / "two.yaml", toy_config(tmp_path / "two", clips, **changes))
    assert main(["--cfg", str(one)]) == 0
    run(two, ranks=2)
    for a, b in zip(records(tmp_path / "one"), records(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4) and a["lr"] == b["lr"]
    logits = [np.load(tmp_path / name / "predictions.npz")["view_logits"] for name in ("one", "two")]
    np.testing.assert_allclose(*logits, atol=1e-3)
    # The same weights tested by two ranks and by one: no view doubled, none lost.
    before = results(tmp_path / "two")
    assert before["frame_rates"] == results(tmp_path / "one")["frame_rates"]
    assert main(["--cfg", str(two), "train.enable", "false"]) == 0
    assert results(tmp_path / "two") == before
