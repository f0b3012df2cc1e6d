"""A run on tars is the run on the files in them, whatever the workers and ranks, and also where it was cut short."""

import json
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live_runs import stop_after
from tests.media import write_video
from tests.shards import write_shard
from tests.toy_runs import assert_same_run, results, run, toy_config, write_config
from videoadapt.cli.prepare import main as prepare
from videoadapt.inference.predictor import Predictor

SHARDS = {"dataset": {"name": "webdataset"}, "train": "train-{0..2}.tar", "test": "test-*.tar"}
AUGMENT = {"crop": "random_resized", "erasing": 0.25}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen films to train on and five to test, one of them no video, as files with lists and in tars."""
    root = tmp_path_factory.mktemp("films")
    lists: dict[str, list[str]] = {"train": [], "test": []}
    shards: dict[str, dict[str, bytes]] = {}
    for split, number in [*(("train", n) for n in range(16)), *(("test", n) for n in range(5))]:
        name, seeked = f"{split}_{number}", number % 3
        path = write_video(
            root / f"{name}.{'mp4' if seeked else 'avi'}",
            num_frames=20 + number,
            codec="libx264" if seeked else "mpeg4",
        )
        if (split, number) == ("test", 4):
            path.write_bytes(b"no video")
        lists[split].append(f"{path.name} {number % 2}\n")
        shards.setdefault(f"{split}-{number * 3 // 16}.tar", {}).update(
            {path.name: path.read_bytes(), f"{name}.cls": b"%d" % (number % 2)}
        )
    for split, rows in lists.items():
        (root / f"{split}.csv").write_text("".join(rows))
    for shard, members in shards.items():
        write_shard(root / shard, members)
    return root


def config_of(output: Path, films: Path, **data: Any) -> Path:
    data = {"classes": 2, "augment": AUGMENT, **data}
    training = {"epochs": 6, "batch_size": 4, "checkpoint_every_steps": 3}
    return write_config(output.with_suffix(".yaml"), toy_config(output, films, data=data, train=training))


def of_files(output: Path, films: Path) -> Path:
    dataset = {"dataset": {"name": "video_list"}, "train": f"{films}/train.csv", "test": f"{films}/test.csv"}
    return config_of(output, films, **dataset)


@pytest.mark.slow
def test_tars_give_the_numbers_of_their_files(films: Path, tmp_path: Path) -> None:
    """With processes that read and without, and what comes after: names, an unreadable member, a prediction."""
    run(of_files(tmp_path / "files", films), code=3)
    run(config_of(tmp_path / "shards", films, **SHARDS, workers=2), code=3)
    assert_same_run(tmp_path / "files", tmp_path / "shards")
    found = results(tmp_path / "shards")
    assert [item["video"] for item in found["unreadable"]] == ["test-0.tar/test_4.mp4"]
    with np.load(tmp_path / "shards" / "predictions.npz") as file:
        names = file["video_id"].tolist()
    assert names[0] == "test-0.tar/test_0.avi" and len(names) == 5
    one, other = (Predictor.from_run(tmp_path / name) for name in ("files", "shards"))
    assert one.predict(films / "test_0.avi") == other.predict([films / names[0]])[0]


@pytest.mark.slow
def test_two_ranks_cut_short_resume_to_the_same_bits(films: Path, tmp_path: Path) -> None:
    run(of_files(tmp_path / "files", films), ranks=2, code=1)
    config, step = config_of(tmp_path / "shards", films, **SHARDS, workers=2), random.randrange(4, 14)
    print(f"killed at step {step}")
    assert stop_after(config, tmp_path / "shards", step, signal.SIGKILL, ranks=2) == -9
    run(config, ranks=2, code=1)
    assert_same_run(tmp_path / "files", tmp_path / "shards")


def test_a_scan_of_a_pattern_has_a_folder_that_shells_can_name(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        prepare(["scan", "--list", "test-*.tar", "--root", str(films), "--jobs", "1", "--dataset", "webdataset"]) == 3
    )
    assert (tmp_path / "outputs/scan_test-_/report.csv").is_file()


def test_a_scan_of_tars(films: Path, tmp_path: Path) -> None:
    arguments = ["--list", "test-*.tar", "--root", str(films), "--out", str(tmp_path), "--jobs", "1"]
    assert prepare(["scan", *arguments, "--dataset", "webdataset", "--classes", "2"]) == 3
    report = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [row["faults"] for row in report] == [[], [], [], [], ["unreadable"]]
    assert (tmp_path / "clean.csv").read_text().splitlines()[1] == "test-0.tar/test_1.mp4 1"
    again = [
        "--list",
        str(tmp_path / "clean.csv"),
        "--root",
        str(films),
        "--out",
        str(tmp_path / "again"),
        "--jobs",
        "1",
    ]
    assert prepare(["scan", *again]) == 0
