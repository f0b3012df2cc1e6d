"""Parts of films from a list to results.json, and through the commands that prepare lists."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.media import write_video
from tests.toy_runs import results, run, toy_config, write_config
from videoadapt.cli.prepare import main as prepare
from videoadapt.data.datasets.video_list import VideoList

HEADER = "path,start_sec,end_sec,label\n"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, codec in (("a b.mp4", "libx264"), ("c.mp4", "libx264"), ("d.avi", "mpeg4")):
        write_video(folder / name, codec=codec, num_frames=75, bframes=2)
    return folder


@pytest.mark.slow
def test_a_run_on_parts_names_each(films: Path, tmp_path: Path) -> None:
    """Rows of one film are videos of their own, also for the views: those of all of it differ."""
    train = [f"{film},{start},{start + 1},{start}" for film in ("a b.mp4", "c.mp4") for start in range(2)]
    test = ["d.avi,0,1,0", "d.avi,1,2,1", "d.avi,,,0", "c.mp4,2,3,1", "c.mp4,2.5,9,1"]
    for name, rows in (("train", train), ("test", test)):
        (tmp_path / f"{name}.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))
    data = {"dataset": {"name": "video_list"}, "train": f"{tmp_path}/train.csv", "test": f"{tmp_path}/test.csv"}
    config = toy_config(tmp_path / "run", films, data=data | {"classes": 2}, train={"epochs": 1, "batch_size": 4})
    said = run(write_config(tmp_path / "run.yaml", config), code=3)
    found = results(tmp_path / "run")
    assert [item["video"] for item in found["unreadable"]] == ["c.mp4#t=2.5,9"] and found["num_videos"] == 5
    assert "c.mp4: end_sec = 9: the film ends at 3.000 s" in found["unreadable"][0]["reason"]
    assert "data.test share" not in said  # c.mp4 is in both lists, in parts that do not meet
    with np.load(tmp_path / "run" / "predictions.npz") as file:
        assert file["video_id"].tolist() == ["d.avi#t=0,1", "d.avi#t=1,2", "d.avi", "c.mp4#t=2,3", "c.mp4#t=2.5,9"]
        readable = file["view_logits"][:4].reshape(4, -1)
    assert len({row.tobytes() for row in readable}) == 4


def test_a_scan_looks_at_parts(films: Path, tmp_path: Path) -> None:
    rows = ["d.avi,0,1,0", "d.avi,1,2,1", "d.avi,0,1,0", "d.avi,3,4,0", "d.avi,1,5,0", "d.avi,0,0.1,0", "a b.mp4,,,1"]
    (tmp_path / "list.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))
    arguments = ["--list", f"{tmp_path}/list.csv", "--root", str(films), "--out", str(tmp_path), "--min-frames", "4"]
    assert prepare(["scan", *arguments, "--jobs", "1"]) == 3
    report = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [row["faults"] for row in report] == [[], [], ["twice"], ["part"], ["part"], ["short"], []]
    assert report[5]["reason"] == "3 frames; allowed: 4 or more"
    kept = VideoList().load(str(tmp_path / "clean.csv"), films)
    assert list(kept.ids()) == ["d.avi#t=0,1", "d.avi#t=1,2", "a b.mp4"] and kept.labels_N.tolist() == [0, 1, 1]


def test_lists_are_compared_by_parts(films: Path, tmp_path: Path) -> None:
    shutil.copy(films / "d.avi", tmp_path / "copy.avi")
    (tmp_path / "d.avi").symlink_to(films / "d.avi")
    (tmp_path / "one.csv").write_text(HEADER + "d.avi,0,1,0\nd.avi,0.5,2,1\nd.avi,0,1,0\n")
    (tmp_path / "two.csv").write_text(HEADER + "d.avi,2,3,0\ncopy.avi,1.5,3,1\n")
    arguments = [f"{tmp_path}/one.csv", f"{tmp_path}/two.csv", "--root", str(tmp_path), "--out", str(tmp_path)]
    assert prepare(["check", "--bytes-only", *arguments]) == 3
    with (tmp_path / "findings.csv").open(newline="") as file:
        found = {(row["kind"], row["one_video"], row["other_video"]) for row in csv.DictReader(file)}
    assert found == {("twice", "d.avi#t=0,1", "d.avi#t=0,1"), ("copy", "d.avi#t=0.5,2", "copy.avi#t=1.5,3")}


def test_a_film_is_encoded_once_for_its_parts(films: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(HEADER + "d.avi,0,1,0\nd.avi,1,2.5,1\n")
    out = tmp_path / "out"
    arguments = ["--list", f"{tmp_path}/list.csv", "--root", str(films), "--out", str(out), "--jobs", "1"]
    assert prepare(["reencode", *arguments]) == 0
    assert list(VideoList().load(str(out / "list.csv"), out).ids()) == ["d.mp4#t=0,1", "d.mp4#t=1,2.5"]
    assert len((out / "reencoded.jsonl").read_text().splitlines()) == 1
