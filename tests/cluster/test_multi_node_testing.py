"""Ranks share out the videos of a test, and give what one process gives."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cluster.jobs import Job
from tests.toy_runs import REPOSITORY, results, toy_config, write_config
from videoadapt.cli import submit, train

pytestmark = pytest.mark.slurm


def test_any_number_of_ranks_tests_as_one_process(
    cluster: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes, and three ranks, which get 6, 5 and 5 of the 16 videos."""
    monkeypatch.chdir(REPOSITORY)
    one = tmp_path / "one"
    config = str(write_config(tmp_path / "c.yaml", toy_config(one, clips, train={"epochs": 1, "batch_size": 24})))
    assert train.main(["--cfg", config]) == 0
    several = {"nodes": ["--nodes", "2"], "ranks": ["--tasks-per-node", "3", "--cpus-per-task", "1"]}
    for name, options in several.items():
        shutil.copytree(one, tmp_path / name)
        for made in ("results.json", "predictions.npz"):
            (tmp_path / name / made).unlink()
        overrides = [f"output={tmp_path / name}", "train.enable=false", "data.workers=0"]
        assert submit.main(["--cfg", config, *options, *overrides]) == 0
    truth = np.load(one / "predictions.npz")
    for name in several:
        Job(tmp_path / name).wait("COMPLETED")
        assert results(tmp_path / name) == results(one)
        found = np.load(tmp_path / name / "predictions.npz")
        assert all((found[key] == truth[key]).all() for key in ("video_id", "label"))
        probs = [torch.from_numpy(scores).softmax(dim=1) for scores in (found["scores"], truth["scores"])]
        assert torch.allclose(*probs, rtol=0, atol=1e-5)  # other batches of views: float32 sums in another order
