"""NUS-WIDE's own files to lists with several labels."""

from pathlib import Path

import pytest

from videoadapt.data.datasets.video_list import read_list
from videoadapt.errors import DataListError
from videoadapt.preparing.published import OFFICIAL, Official, prepare

CONCEPTS = {"sky": ("101", "01"), "animal": ("001", "00"), "two words": ("000", "01")}  # marks of training and test


@pytest.fixture
def download(tmp_path: Path) -> Path:
    source = tmp_path / "download"
    lists = {
        "Train": ["actor\\0001_21.jpg", "zoo\\0002_7.jpg", "zoo\\0003_9.jpg"],
        "Test": ["actor\\0004_5.jpg", "b\\0005_5.jpg"],
    }
    (source / "ImageList").mkdir(parents=True)
    (source / "Groundtruth" / "TrainTestLabels").mkdir(parents=True)
    for split, names in lists.items():
        (source / "ImageList" / f"{split}Imagelist.txt").write_text("".join(f"{name} \r\n" for name in names))
        for name in names:
            path = source / "Flickr" / name.replace("\\", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
    for concept, marks in CONCEPTS.items():
        for split, rows in zip(("Train", "Test"), marks, strict=True):
            path = source / "Groundtruth" / "TrainTestLabels" / f"Labels_{concept}_{split}.txt"
            path.write_text("".join(f"{mark}\n" for mark in rows))
    return source


def test_lists_are_its_rows(download: Path, tmp_path: Path) -> None:
    (download / "Flickr" / "zoo" / "0002_7.jpg").unlink()  # as thousands of them
    root, counts, different = prepare("nuswide", download, tmp_path / "out", Official(3, {"train": 3, "test": 2}))
    assert root == download and counts == {"train": 2, "test": 2}
    assert different == ["train: 1 of 3 videos is not there, first Flickr/zoo/0002_7.jpg"]
    assert (tmp_path / "out/lists/classes.txt").read_text() == "animal\nsky\ntwo words\n"
    found = {split: read_list(str(tmp_path / f"out/lists/{split}.csv"), root, "multi") for split in ("train", "test")}
    assert [(v.name, v.labels) for v in found["train"]] == [
        ("Flickr/actor/0001_21.jpg", (1,)),
        ("Flickr/zoo/0003_9.jpg", (0, 1)),
    ]
    assert [(v.name, v.labels) for v in found["test"]] == [
        ("Flickr/actor/0004_5.jpg", ()),
        ("Flickr/b/0005_5.jpg", (1, 2)),
    ]
    assert OFFICIAL["nuswide"].num_classes == 81 and sum(OFFICIAL["nuswide"].rows.values()) == 269_648


def test_files_that_do_not_belong_together(download: Path, tmp_path: Path) -> None:
    labels = download / "Groundtruth" / "TrainTestLabels"
    (labels / "Labels_sky_Train.txt").write_text("1\n0\n")
    with pytest.raises(
        DataListError, match=r"Labels_sky_Train\.txt: holds 2 rows; expected 0 or 1 for each of the 3 nam"
    ):
        prepare("nuswide", download, tmp_path / "out", Official(3))
    (labels / "Labels_sky_Train.txt").write_text("1\n0\n1\n")
    (labels / "Labels_sky_Test.txt").unlink()
    with pytest.raises(
        DataListError, match=r"expected Labels_<concept>_Test\.txt of 3 concepts in it or below, found 2"
    ):
        prepare("nuswide", download, tmp_path / "out", Official(3))
