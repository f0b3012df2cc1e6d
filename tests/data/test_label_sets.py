"""Lists with several labels a video: what rows may say, one video of several rows, and what the rest makes of them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.media import write_video
from videoadapt.cli.prepare import main as prepare
from videoadapt.config.loading import load_config
from videoadapt.data.chosen_rows import first_of_each_class, held_out, some_of_each_class
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.list_files import write_list
from videoadapt.data.reading import _labels
from videoadapt.data.splits import Splits
from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError, DataListError
from videoadapt.runs.build_data import build_dataset
from videoadapt.runs.lists import load_splits

HEADER = "path,start_sec,end_sec,label\n"


def load(folder: Path, text: str) -> VideoRows:
    (folder / "list.csv").write_text(text)
    dataset = VideoList()
    dataset.labels = "multi"
    return dataset.load(str(folder / "list.csv"), folder)


def rows_of(videos: VideoRows) -> list[tuple[str, tuple[int, ...] | None, int]]:
    return [(video.id, video.labels, video.line) for video in videos]


def test_labels_stand_in_one_row_or_in_several(tmp_path: Path) -> None:
    videos = load(tmp_path, "b c.mp4 3,0\na.mp4 1\n\nnone.mp4 -\nb c.mp4 2\na.mp4 1\nnone.mp4 4\nlast.mp4 -\n")
    assert rows_of(videos) == [
        ("b c.mp4", (0, 2, 3), 1), ("a.mp4", (1,), 2), ("none.mp4", (4,), 4), ("last.mp4", (), 8),
    ]  # fmt: skip
    assert all(video.label == -1 for video in videos)
    assert videos.targets_NK(5).tolist() == [[1, 0, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1], [0] * 5]
    assert videos.videos_of_each_class(5).tolist() == [1, 1, 1, 1, 1]
    assert rows_of(videos.select(np.array([2, 0]))) == [("none.mp4", (4,), 4), ("b c.mp4", (0, 2, 3), 1)]


def test_parts_of_a_film_have_their_own_labels(tmp_path: Path) -> None:
    videos = load(tmp_path, HEADER + 'a.mp4,0,2,"0, 3"\na.mp4,1,2,1\na.mp4,0.0,2,2\na.mp4,,,\na.mp4,3,4,-\n')
    assert rows_of(videos) == [
        ("a.mp4#t=0,2", (0, 2, 3), 2), ("a.mp4#t=1,2", (1,), 3), ("a.mp4", (), 5), ("a.mp4#t=3,4", (), 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.mp4 0,x", r"line 1: 'a\.mp4 0,x'$"),
        ("a.mp4 0,-1", r"'a\.mp4 0,-1'$"),
        ("a.mp4 0,", r"'a\.mp4 0,'$"),
        ("a.mp4", r"not `path labels` with whole numbers and commas between them, as 0,3, or - for none, first"),
        (
            f"a.mp4 0,{'9' * 19}",
            r"\(a label has more than 18 digits; write the number of its line in the class file, from 0\)",
        ),
        ("a.mp4 0, 3", r"\(several labels: write no space after the comma\)"),
        (HEADER + "a.mp4,0,2,x", r"label = 'x': expected whole numbers from 0 with commas between"),
        (HEADER + "a.mp4,0,2,0,3", r"5 values; expected 4"),
    ],
)
def test_rows_that_are_none(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(DataListError, match=said):
        load(tmp_path, row)


def test_one_label_a_video_refuses_several(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a.mp4 0,3\n")
    with pytest.raises(
        DataListError, match=r"line 1: 'a\.mp4 0,3' \(several labels: set data\.labels multi, of prepare "
    ):
        VideoList().load(str(tmp_path / "list.csv"), tmp_path)
    config = load_config("quickstart", {"data.labels": "multi"})
    with pytest.raises(
        ConfigError, match=r"data\.labels = multi: data\.dataset\.name = 'synthetic' has one label a video"
    ):
        build_dataset(config.data)


def test_a_written_list_is_read_as_it_was(tmp_path: Path) -> None:
    for text in ("a.mp4 0,3\nb.mp4 -\n", HEADER + 'a.mp4,0,2,"0,3"\na.mp4,2,,-\n'):
        videos = load(tmp_path, text)
        write_list(tmp_path / "list.csv", list(videos))
        assert rows_of(load(tmp_path, (tmp_path / "list.csv").read_text())) == rows_of(videos)


def test_a_list_with_other_labels_is_another_list(tmp_path: Path) -> None:
    splits = Splits(*[VideoRows(tmp_path, ())] * 3, class_names=[])
    prints = [splits.fingerprint(load(tmp_path, text)) for text in ("a 0,3", "a 3\na 0", "a 0", "a -")]
    assert prints[0] == prints[1] and len(set(prints)) == 3


def test_a_held_out_share_leaves_half_of_each_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [",".join(map(str, np.flatnonzero(rng.random(6) < 0.3))) or "-" for _ in range(200)]
    videos = load(tmp_path, "".join(f"{number}.mp4 {labels}\n" for number, labels in enumerate(rows)))
    held_N = held_out(videos, 0.2, None, seed=0)
    share_K = videos.select(held_N).videos_of_each_class(6) / videos.videos_of_each_class(6)
    assert (share_K <= 0.21).all() and (share_K > 0.05).all()
    assert () in videos.select(held_N).labels()


def test_the_first_of_each_class_may_be_of_others_too(tmp_path: Path) -> None:
    videos = load(tmp_path, "a 0\nb 0,1\nc 0\nd 1\ne -\nf 1,2\n")
    assert first_of_each_class(videos, 1).tolist() == [True, True, False, False, False, True]
    assert first_of_each_class(videos, 2).tolist() == [True, True, False, True, False, True]
    drawn = videos.select(some_of_each_class(videos, 2, seed=0))
    assert (drawn.videos_of_each_class(3) >= [2, 2, 1]).all() and () not in drawn.labels()


def test_a_batch_has_a_row_of_zeros_and_ones(tmp_path: Path) -> None:
    videos = list(load(tmp_path, "a 0,2\nb -\n"))
    assert torch.equal(_labels(videos, 4), torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0]]))
    assert _labels([], 4).shape == (0, 4)


def test_labels_beyond_the_classes_and_two_names_of_one_file(tmp_path: Path) -> None:
    for name in "abt":
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "soft.mp4").symlink_to("a.mp4")
    (tmp_path / "train.csv").write_text("a.mp4 0,7\nsoft.mp4 1\nb.mp4 -\na.mp4 1\n")
    (tmp_path / "test.csv").write_text("t.mp4 -\n")
    data = {"labels": "multi", "root": tmp_path, "train": tmp_path / "train.csv", "test": tmp_path / "test.csv"}
    changes = {f"data.{key}": str(value) for key, value in data.items()}
    config = load_config("quickstart", {**changes, "data.dataset": {"name": "video_list"}, "data.classes": 7})
    with pytest.raises(DataListError) as caught:
        load_splits(config)
    outside, two_names = str(caught.value).splitlines()
    assert "1 label is outside 0..6 (data.classes names 7 classes), first 0,1,7 of 'a.mp4' (line 1)" in outside
    assert (
        "'soft.mp4' (line 2, label 1) is the same file as 'a.mp4' (line 1, label 0,1,7); write both under one"
        in two_names
    )


def test_the_tools_for_lists_know_them(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_video(tmp_path / f"{name}.mp4", num_frames=8 if name == "a" else 9)
    (tmp_path / "c.mp4").write_bytes((tmp_path / "b.mp4").read_bytes())
    (tmp_path / "list.csv").write_text("a.mp4 0\na.mp4 3\nb.mp4 -\nc.mp4 1,9\n")
    shared = ["--root", str(tmp_path), "--labels", "multi", "--jobs", "1"]
    listed = ["--list", str(tmp_path / "list.csv")]
    assert prepare(["scan", *listed, *shared, "--classes", "5", "--out", str(tmp_path / "scan")]) == 3
    report = json.loads((tmp_path / "scan" / "report.json").read_text())["rows"]
    assert [(row["label"], row["faults"]) for row in report] == [
        ("0,3", []), ("-", ["contradiction"]), ("1,9", ["label", "contradiction"]),
    ]  # fmt: skip
    assert (tmp_path / "scan" / "clean.csv").read_text() == "a.mp4 0,3\n"
    assert (
        prepare(["check", str(tmp_path / "list.csv"), *shared, "--bytes-only", "--out", str(tmp_path / "check")]) == 3
    )
    with (tmp_path / "check" / "findings.csv").open() as file:
        (found,) = csv.DictReader(file)
    assert (found["kind"], found["one_label"], found["other_label"]) == ("contradiction", "-", "1,9")
    assert prepare(["reencode", *listed, *shared, "--short-side", "64", "--out", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "list.csv").read_text() == "a.mp4 0,3\nb.mp4 -\nc.mp4 1,9\n"
