"""Several GPUs of one host, through NCCL: the numbers of one GPU, and no process that hangs when another dies."""

import os
import signal
import sys
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest
import torch

from tests.forked import heed_all_signals
from tests.live_runs import descendants, start, stop_after, wait_for_step
from tests.toy_runs import (
    REPOSITORY,
    assert_same_run,
    environment,
    full_recipe,
    records,
    results,
    run,
    toy_config,
    write_config,
)
from videoadapt.runs.outcome import Outcome, read_outcome

GPUS = min(torch.cuda.device_count(), 2)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(GPUS < 2, reason="needs two GPUs")]


def losses(folder: Path, clips: Path, name: str, *overrides: str, ranks: int, **train: Any) -> np.ndarray:
    """Training losses of 24 updates of ViT-B with AdaptMLP-64."""
    model = {
        "backbone": {"name": "vit", "size": "base"},
        "adapter": {"name": "adaptformer"},
        "head": {"batch_norm": True, "dropout": 0.0},
    }
    training = {"epochs": 4, "batch_size": 8, **train}
    optim = {"name": "sgd", "lr_per_256": 0.1, "warmup_epochs": 1}
    config = toy_config(folder / name, clips, model=model, train=training, optim=optim, device="cuda")
    run(write_config(folder / f"{name}.yaml", config), "test.enable=false", *overrides, ranks=ranks)
    return np.array([record["loss"] for record in records(folder / name)])


def test_shared_statistics_give_the_losses_of_one_gpu(clips: Path, tmp_path: Path) -> None:
    shared = "model.head.sync=true"
    several = losses(tmp_path, clips, "several", shared, ranks=GPUS)
    alone = losses(tmp_path, clips, "alone", shared, ranks=1)
    assert len(alone) == 24
    np.testing.assert_allclose(several, alone, rtol=1e-5)  # float32 sums in another order, 24 updates


def test_own_statistics_give_those_of_accumulated_parts(clips: Path, tmp_path: Path) -> None:
    several = losses(tmp_path, clips, "several", ranks=GPUS)
    alone = losses(tmp_path, clips, "alone", ranks=1, accumulate=GPUS)
    np.testing.assert_allclose(several, alone, rtol=1e-5)


def test_bf16_differs_by_no_more_than_accumulation_does(clips: Path, tmp_path: Path) -> None:
    plain = "model.head.batch_norm=false"
    several = losses(tmp_path, clips, "several", plain, ranks=GPUS, precision="bf16")
    alone = losses(tmp_path, clips, "alone", plain, ranks=1, precision="bf16")
    parts = losses(tmp_path, clips, "parts", plain, ranks=1, precision="bf16", accumulate=GPUS)
    print(f"bf16: several {abs(several - alone).max():.2e}, accumulated {abs(parts - alone).max():.2e}")
    assert abs(several - alone).max() <= 2 * abs(parts - alone).max() + 1e-6


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an undisturbed run of the full recipe on all GPUs."""
    output = tmp_path_factory.mktemp("whole") / "run"
    run(full_recipe(output, clips), "device=cuda", ranks=GPUS)
    return output


def test_a_repetition_gives_the_same_bits(clips: Path, tmp_path: Path, whole: Path) -> None:
    run(full_recipe(tmp_path / "again", clips), "device=cuda", ranks=GPUS)
    assert_same_run(whole, tmp_path / "again")


def test_one_killed_process_ends_all_and_nothing_is_lost(clips: Path, tmp_path: Path, whole: Path) -> None:
    config, output = full_recipe(tmp_path / "cut", clips), tmp_path / "cut"
    with start(config, "device=cuda", "data.workers=2", ranks=GPUS) as process:
        wait_for_step(process, output, 10)
        below = descendants(process.pid)
        ranks = [pid for pid in below if b"run_net.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(ranks[-1], signal.SIGKILL)
        assert process.wait(timeout=120) != 0
        assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
    run(config, "device=cuda", ranks=GPUS)
    assert_same_run(whole, output)


def test_a_local_job_is_requeued_to_the_same_bits(clips: Path, tmp_path: Path, whole: Path) -> None:
    config, output = full_recipe(tmp_path / "cut", clips), tmp_path / "cut"
    options = ["device=cuda", "--executor", "local", "--gpus-per-node", str(GPUS)]
    command = [sys.executable, "tools/submit.py", "--cfg", str(config), *options]
    with Popen(
        command, cwd=REPOSITORY, env=environment(), text=True, start_new_session=True, preexec_fn=heed_all_signals
    ) as process:
        wait_for_step(process, output, 10)
        for pid in descendants(process.pid):
            if b"core._submit" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGUSR2)  # as Slurm does before the time limit
        assert process.wait(timeout=300) == 0
    assert_same_run(whole, output)
    record = read_outcome(output)
    assert record is not None and record.outcome == Outcome.FINISHED
    assert "resuming from" in (output / "run.log").read_text()


def sharded(output: Path, clips: Path, **train: Any) -> Path:
    """A config of 24 updates of all of ViT-B, recomputed in the backward pass, divided among the GPUs."""
    head = {"batch_norm": False, "dropout": 0.0}
    model = {"backbone": {"name": "vit", "size": "base"}, "adapter": {"name": "full"}, "head": head}
    training = {"epochs": 4, "batch_size": 8, "activation_checkpointing": True, "shard": True, **train}
    optim = {"name": "sgd", "lr_per_256": 0.1, "warmup_epochs": 1}
    config = toy_config(output, clips, model=model, train=training, optim=optim, device="cuda")
    return write_config(output.with_suffix(".yaml"), config)


def test_a_divided_model_has_the_losses_of_one_gpu(clips: Path, tmp_path: Path) -> None:
    told = {"divided": (GPUS, True), "alone": (1, False)}
    for name, (ranks, shard) in told.items():
        run(sharded(tmp_path / name, clips, shard=shard), ranks=ranks)
    divided, alone = ([record["loss"] for record in records(tmp_path / name)] for name in told)
    assert len(alone) == 24
    np.testing.assert_allclose(divided, alone, rtol=1e-4)  # sums in another order, and all weights follow them


def test_a_divided_model_resumes_to_the_same_bits(clips: Path, tmp_path: Path) -> None:
    whole, cut = sharded(tmp_path / "whole", clips), sharded(tmp_path / "cut", clips, checkpoint_every_steps=4)
    run(whole, ranks=GPUS)
    assert stop_after(cut, tmp_path / "cut", 14, signal.SIGKILL, ranks=GPUS) == -9
    run(cut, ranks=GPUS)
    assert "resuming from" in (tmp_path / "cut" / "run.log").read_text()
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_an_uneven_list_gives_the_same_results(clips: Path, tmp_path: Path, whole: Path) -> None:
    """15 videos over all GPUs and over one: the same counts and checksums, logits within the order of float32 sums."""
    rows = (clips / "test.csv").read_text().splitlines()[:15]
    (tmp_path / "odd.csv").write_text("\n".join(rows) + "\n")
    options = ["device=cuda", "train.enable=false", f"data.test={tmp_path / 'odd.csv'}", "data.dataset={name: video_list}",
               f"data.train={clips / 'train.csv'}", f"data.classes={clips / 'classes.txt'}"]  # fmt: skip
    told, logits = [], []
    for ranks in (GPUS, 1):
        run(whole.with_suffix(".yaml"), *options, ranks=ranks)
        told.append(results(whole))
        logits.append(np.load(whole / "predictions.npz")["view_logits"])
    assert told[0] == told[1] and told[0]["num_videos"] == 15
    np.testing.assert_allclose(*logits, atol=1e-5)
