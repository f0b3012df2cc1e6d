"""`data.dataset.name class_folders`: a folder is divided once, and every later run has the same lists."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from videoadapt.data.datasets.class_folders import ClassFolders
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.errors import DataListError


def make_folder(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"%d" % number)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "videos", [f"{kind}/{n}.mp4" for kind in ("run", "jump") for n in range(10)])


def lists(root: Path, **arguments: Any) -> dict[str, list[tuple[str, int]]]:
    dataset = ClassFolders(**arguments)
    found = {split: [(v.id, v.label) for v in dataset.load(split, root)] for split in ("train", "val", "test")}
    assert dataset.class_names == ["jump", "run"]
    return found


def test_the_lists_lie_beside_the_folder(root: Path) -> None:
    found = lists(root)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 14, "val": 2, "test": 4}
    assert len({name for rows in found.values() for name, _ in rows}) == 20
    assert sorted(path.name for path in (root.parent / "videos_lists").iterdir()) == [
        "classes.txt", "division.json", "test.csv", "train.csv", "val.csv",
    ]  # fmt: skip
    assert [(v.id, v.label) for v in VideoList().load(str(root.parent / "videos_lists/test.csv"), root)] == found[
        "test"
    ]


def test_a_list_without_a_class_says_which_keys_help(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "videoadapt"):
        lists(root, val=0.0, group="(run|jump/.)")
    assert (
        "test holds no video of 1 of 2 classes, first 'run'; more videos of them, a larger data.dataset.test"
        in caplog.text
    )


def test_a_video_that_comes_later_moves_no_other_one(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = lists(root, val=0.0)
    make_folder(root, [f"run/a{n}.mp4" for n in range(7)])
    with caplog.at_level(logging.WARNING, "videoadapt"):
        assert lists(root, val=0.0) == before
    assert (
        "7 videos of" in caplog.text and "first run/a0.mp4" in caplog.text and caplog.text.count("came too late") == 1
    )


def test_other_shares_are_another_division(root: Path, tmp_path: Path) -> None:
    lists(root)
    with pytest.raises(
        DataListError, match=r"videos_lists: was divided with test None, and data\.dataset\.test is 0\.4"
    ):
        lists(root, test=0.4)
    assert lists(root, test=0.4, lists=str(tmp_path / "mine")) != lists(root)
    assert lists(root, seed=1) != lists(root)
    assert (tmp_path / "videos_lists_seed1").is_dir()


def test_folders_of_splits_are_the_lists(tmp_path: Path) -> None:
    names = [
        f"{split}/{kind}/{split}{n}.mp4" for split in ("Train", "test") for kind in ("run", "jump") for n in range(5)
    ]
    found = lists(make_folder(tmp_path / "v", names), val=0.0, test=0.2)
    assert [len(rows) for rows in found.values()] == [10, 0, 10]
    assert all(name.startswith("test/") for name, _ in found["test"])


def test_copies_are_taken_once_and_are_not_new(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "run/again.mp4").write_bytes((root / "run/0.mp4").read_bytes())
    with caplog.at_level(logging.INFO, "videoadapt"):
        found = lists(root)
        assert lists(root) == found
    assert sum(map(len, found.values())) == 20
    assert "1 copy of another video is left out" in caplog.text and "came too late" not in caplog.text


def test_what_cannot_be_divided(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataListError,
        match=r".*nowhere: is no folder; expected one with a folder of videos for each class",
    ):
        ClassFolders().load("train", tmp_path / "nowhere")
    with pytest.raises(DataListError, match=r"without such a list; delete .*, and set data\.dataset\.test"):
        ClassFolders(test=0.0).load("test", root)
    with pytest.raises(
        DataListError, match=r"data\.dataset\.val 0\.3 data\.dataset\.test 0\.4: allowed: .* at most 0\.5"
    ):
        ClassFolders(val=0.3, test=0.4, seed=5).load("test", root)
    division = root.parent / "videos_lists/division.json"
    division.write_text(json.dumps([]))
    with pytest.raises(DataListError, match=r"division\.json: is not as it was written"):
        ClassFolders(test=0.0).load("train", root)
