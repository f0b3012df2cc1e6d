"""FSDP2 with two processes, over gloo: the numbers of DistributedDataParallel, in files that either resumes from."""

import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.live_runs import stop_after
from tests.toy_runs import assert_same_run, final_weights, records, results, run, toy_config, write_config

pytestmark = pytest.mark.slow
# Neither BatchNorm over two clips, nor AdamW, whose first steps are full ones for gradients that are rounding alone.
STEADY = ("optim={name: sgd, lr_per_256: 1, warmup_epochs: 1}", "model.head.batch_norm=false")


def config_of(output: Path, clips: Path, **changes: Any) -> Path:
    """All that trains or has a state: every block, the average, accumulated and cut gradients, validations, recomputing."""
    data = {**toy_config(output, clips)["data"], "val": {"holdout": 0.17}}
    training = {
        "epochs": 4, "batch_size": 8, "accumulate": 2, "ema": 0.9, "clip_grad_norm": 1.0, "checkpoint_every_steps": 3,
        "activation_checkpointing": True, "shard": True, **changes,
    }  # fmt: skip
    model = {
        "adapter": {"name": "full"},
        "backbone": {**toy_config(output, clips)["model"]["backbone"], "drop_path": 0.1},
    }
    return write_config(output.with_suffix(".yaml"), toy_config(output, clips, data=data, model=model, train=training))


@pytest.fixture(scope="module")
def sharded(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an undisturbed run."""
    output = tmp_path_factory.mktemp("sharded") / "run"
    run(config_of(output, clips), ranks=2)
    return output


def test_the_numbers_of_undivided_processes(clips: Path, tmp_path: Path) -> None:
    folders = sharded, undivided = tmp_path / "sharded", tmp_path / "undivided"
    for output in folders:
        run(config_of(output, clips, shard=output == sharded), *STEADY, ranks=2)
    for ours, other in zip(records(sharded), records(undivided), strict=True):
        assert ours["loss"] == pytest.approx(other["loss"], rel=1e-4)
    for ours, other in zip(records(sharded, "val"), records(undivided, "val"), strict=True):
        assert ours == {**other, "loss": pytest.approx(other["loss"], rel=1e-4)}
    weights, others = final_weights(sharded), final_weights(undivided)
    assert list(weights) == list(others)
    for name, tensor in weights.items():
        assert type(tensor) is torch.Tensor
        torch.testing.assert_close(tensor, others[name], rtol=1e-3, atol=1e-5)  # sums in another order
    both = [np.load(folder / "predictions.npz")["view_logits"] for folder in folders]
    np.testing.assert_allclose(*both, rtol=1e-3, atol=1e-3)


def test_killed_anywhere_then_the_same_bits(clips: Path, tmp_path: Path, sharded: Path) -> None:
    config, step = config_of(tmp_path / "cut", clips), random.randrange(4, 16)
    print(f"killed at step {step}")
    assert stop_after(config, tmp_path / "cut", step, signal.SIGKILL, ranks=2) == -9
    run(config, ranks=2)
    assert_same_run(sharded, tmp_path / "cut")


def test_what_it_leaves_is_tested_by_one_process(sharded: Path) -> None:
    before = results(sharded)
    run(sharded.with_suffix(".yaml"), "train.enable=false")
    assert results(sharded) == before


def test_compiled_blocks_are_divided_as_well(clips: Path, tmp_path: Path) -> None:
    changes = {"compile": True, "activation_checkpointing": False}
    same = (*STEADY, "model.backbone.drop_path=0", "test.enable=false")  # what is dropped is drawn otherwise in a graph
    run(config_of(tmp_path / "compiled", clips, **changes), *same, ranks=2)
    run(config_of(tmp_path / "plain", clips), *same, ranks=2)
    for ours, other in zip(records(tmp_path / "compiled"), records(tmp_path / "plain"), strict=True):
        assert ours["loss"] == pytest.approx(other["loss"], rel=1e-4)
