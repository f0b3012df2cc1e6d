"""`train.least_updates`: a short list is gone through more often, in batches that are no larger than it."""

from pathlib import Path

import pytest

from tests.toy_runs import toy_config, write_config
from videoadapt.cli import train
from videoadapt.config.loading import check_config, load_config
from videoadapt.data.videos import VideoRows
from videoadapt.runs.fitting import fitted


def sizes(num_videos: int, ranks: int = 1, **training: int | None) -> tuple[int, int]:
    config = check_config({"output": "x", "train": {"epochs": 10, "batch_size": 16, "least_updates": 100, **training}})
    videos = VideoRows(Path(), ((f"{n}.mp4", 0, n + 1) for n in range(num_videos)))
    once = fitted(config, videos, ranks)
    assert fitted(once, videos, ranks) == once
    return once.train.epochs, once.train.batch_size


@pytest.mark.parametrize(
    ("num_videos", "expected"),
    [(1600, (10, 16)), (160, (10, 16)), (80, (20, 16)), (79, (25, 16)), (16, (100, 16)), (7, (100, 7)), (1, (100, 1))],
)
def test_epochs_and_batches(num_videos: int, expected: tuple[int, int]) -> None:
    assert sizes(num_videos) == expected


def test_ranks_and_micro_batches_share_a_batch() -> None:
    assert sizes(7, ranks=2) == (100, 6)
    assert sizes(11, accumulate=2, ranks=2) == (100, 8)


def test_without_the_key_nothing_is_fitted() -> None:
    assert sizes(7, least_updates=None) == (10, 16)


@pytest.mark.slow
def test_a_run_keeps_what_was_fitted(clips: Path, tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", clips, train={"epochs": 1, "batch_size": 64, "least_updates": 3})
    path = write_config(tmp_path / "c.yaml", config)
    assert train.main(["--cfg", str(path)]) == 0
    kept = load_config(tmp_path / "run/config.yaml").train
    assert kept.epochs == 3 and kept.batch_size < 64
    assert train.main(["--cfg", str(path)]) == 0  # is complete, with the same values
