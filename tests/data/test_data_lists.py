"""The official lists: complete, labelled in the official order, disjoint, and the files that their README describes."""

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

LISTS = Path(__file__).resolve().parents[2] / "data_lists"
NUM_CLASSES = {"hmdb51": 51, "ucf101": 101, "kinetics400": 400, "ssv2": 174}
NUM_VIDEOS = {  # (training, test) videos of splits 1-3, as published with the datasets
    "hmdb51": [(3570, 1530)] * 3,
    "ucf101": [(9537, 3783), (9586, 3734), (9624, 3696)],
}
SPLITS = [(dataset, split) for dataset in NUM_VIDEOS for split in (1, 2, 3)]
TABLE = {
    name: (int(rows), digest)
    for name, rows, digest in re.findall(
        r"^\| (\S+) \| (\d+) \| \w+ \| ([0-9a-f]{64}) \|$", (LISTS / "README.md").read_text(encoding="utf-8"), re.M
    )
}


def read_rows(name: str) -> list[tuple[str, int]]:
    rows = [row.rpartition(" ") for row in (LISTS / name).read_text(encoding="utf-8").splitlines()]
    return [(path, int(label)) for path, _, label in rows]


def read_classes(dataset: str) -> list[str]:
    return (LISTS / dataset / "classes.txt").read_text(encoding="utf-8").splitlines()


def test_readme_lists_every_official_file() -> None:
    lists = [f"{dataset}/{side}_split{split}.csv" for dataset, split in SPLITS for side in ("train", "test")]
    classes = [f"{dataset}/classes.txt" for dataset in NUM_CLASSES]
    assert sorted(TABLE) == sorted([*lists, *classes, "ucf101/to_hmdb51.csv"])


@pytest.mark.parametrize("name", sorted(TABLE))
def test_file_is_the_one_in_the_readme(name: str) -> None:
    content = (LISTS / name).read_bytes()
    assert (content.count(b"\n"), hashlib.sha256(content).hexdigest()) == TABLE[name]


@pytest.mark.parametrize(("dataset", "count"), NUM_CLASSES.items())
def test_classes_are_complete_and_alphabetical(dataset: str, count: int) -> None:
    classes = read_classes(dataset)
    assert len(classes) == len(set(classes)) == count
    assert classes == sorted(classes, key=str.lower)


@pytest.mark.parametrize(("dataset", "split"), SPLITS)
def test_split_is_the_official_one(dataset: str, split: int) -> None:
    classes = read_classes(dataset)
    train, test = (read_rows(f"{dataset}/{side}_split{split}.csv") for side in ("train", "test"))
    assert (len(train), len(test)) == NUM_VIDEOS[dataset][split - 1]
    wrong = [(path, label) for path, label in train + test if path.split("/")[0] != classes[label]]
    assert not wrong, f"label is not the folder's row in classes.txt: {wrong[:3]}"
    paths = Counter(path for path, _ in train + test)
    assert not (twice := [path for path, count in paths.items() if count > 1]), (
        f"on both sides, or doubled: {twice[:3]}"
    )
    for side in (train, test):
        assert {label for _, label in side} == set(range(len(classes)))


@pytest.mark.parametrize("split", [1, 2, 3])
def test_hmdb51_has_70_and_30_videos_of_each_class(split: int) -> None:
    for side, count in (("train", 70), ("test", 30)):
        per_class = Counter(label for _, label in read_rows(f"hmdb51/{side}_split{split}.csv"))
        assert set(per_class.values()) == {count}


def test_ucf101_splits_hold_every_video_and_divide_no_group() -> None:
    contents = []
    for split in (1, 2, 3):
        train, test = ({path for path, _ in read_rows(f"ucf101/{side}_split{split}.csv")} for side in ("train", "test"))
        groups = [{re.sub(r"_c\d+\.avi$", "", path) for path in side} for side in (train, test)]
        assert not groups[0] & groups[1]
        contents.append(train | test)
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]) == 13320
