"""Lists with named columns: what rows say, what is wrong with them, and what the checks of lists make of parts of films."""

import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest

from videoadapt import logger
from videoadapt.config.loading import load_config
from videoadapt.data.chosen_rows import held_out
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.file_identity import overlap
from videoadapt.data.list_files import write_list
from videoadapt.data.splits import Splits
from videoadapt.data.structures import Video
from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError, DataListError
from videoadapt.runs.lists import load_splits
from videoadapt.video.part import FramePart, Part

HEADER = "path,start_sec,end_sec,label\n"


def load(folder: Path, text: str, columns: list[str] | None = None) -> VideoRows:
    (folder / "list.csv").write_text(text, encoding="utf-8")
    dataset = VideoList()
    dataset.columns = columns  # type: ignore[assignment]
    return dataset.load(str(folder / "list.csv"), Path("/videos"))


def test_rows_say_parts_of_films(tmp_path: Path) -> None:
    rows = (
        'a b.mp4,1.5,4,0\n"c, d.mp4", 0 ,1e1,1\n\na b.mp4,4,,2\ne.mp4,,,3\n,, ,\n'  # the last as spreadsheets leave it
    )
    listed = [
        Video("a b.mp4", Path("/videos/a b.mp4"), 0, 2, Part(1.5, 4)),
        Video("c, d.mp4", Path("/videos/c, d.mp4"), 1, 3, Part(0, 10)),
        Video("a b.mp4", Path("/videos/a b.mp4"), 2, 5, Part(4, math.inf)),
        Video("e.mp4", Path("/videos/e.mp4"), 3, 6),
    ]
    videos = load(tmp_path, HEADER + rows)
    assert list(videos) == listed
    assert (
        list(videos.ids()) == ["a b.mp4#t=1.5,4", "c, d.mp4#t=0,10", "a b.mp4#t=4", "e.mp4"] == [v.id for v in listed]
    )
    assert list(videos[::2]) == listed[::2] and list(videos.select(np.array([3, 0]))) == [listed[3], listed[0]]
    write_list(tmp_path / "again.csv", listed)
    again = VideoList().load(str(tmp_path / "again.csv"), Path("/videos"))
    assert [v._replace(line=0) for v in again] == [v._replace(line=0) for v in listed]


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    video, quoted = load(tmp_path, '\ufeffLabel, path\r\n3,a b.mp4\r\n4, "c, d.mp4"\r\n')
    assert video == Video("a b.mp4", Path("/videos/a b.mp4"), 3, 2)
    assert quoted == Video("c, d.mp4", Path("/videos/c, d.mp4"), 4, 3)
    assert (
        load(tmp_path, "path,start_sec,end_sec,label\na,,,0\n").parts_N2 is None
    )  # compared as any list of whole films is
    assert [v.line for v in load(tmp_path, '"path", "label"\n"a.mp4",0\n')] == [2]
    (video,) = load(tmp_path, "3,a.mp4,2,1\n", ["label", "path", "end_sec", "start_sec"])
    assert video.part == Part(1, 2) and video.line == 1
    with pytest.raises(DataListError, match="take one of them out"):
        load(tmp_path, HEADER + "a.mp4,1,2,0\n", ["path", "label"])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.mp4,4,4,0", "end_sec = 4: allowed: above start_sec = 4"),
        ("a.mp4,-1,4,0", "start_sec = -1: allowed: 0 or more"),
        ("a.mp4,one,4,0", "start_sec = 'one': expected seconds"),
        ("a.mp4,1,0:04,0", "end_sec = '0:04': expected seconds"),
        ("a.mp4,nan,4,0", "start_sec = nan"),
        ("a.mp4,1,inf,0", "end_sec = nan"),
        ("a.mp4,1,4,run", "label = 'run': expected a whole number"),
        ("a.mp4,1,4,²", "label = '²': expected a whole number"),
        ("a.mp4,1,4,1234567890123456789", "label = '1234567890123456789': expected a whole number"),
        (",1,4,0", "path = ''"),
        ("a.mp4,1,4", "3 values; expected 4"),
        ("a.mp4 1 4", "1 value; expected 4"),
    ],
)
def test_a_row_that_is_none_is_named(row: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataListError) as error:
        load(tmp_path, f"{HEADER}b.mp4,1,2,0\n{row}\n")
    assert f"list.csv: 1 row cannot be used, first line 3: '{row}': {said}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_quote_that_nobody_closes_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataListError, match=r"path = 'a\.mp4,1,2,0\\nb\.mp4': is no path") as error:
        load(tmp_path, f'{HEADER}"a.mp4,1,2,0\nb.mp4",1,2,0\n')
    assert "\n" not in str(error.value)
    with pytest.raises(DataListError, match="1 row cannot be used, first line 3: field larger than field limit"):
        load(tmp_path, f"{HEADER}b.mp4,1,2,0\n{'x' * 200_000},1,2,0\n")


def test_without_columns_a_row_means_what_it_meant(tmp_path: Path) -> None:
    assert [v.name for v in load(tmp_path, "a b.mp4 1.5 4 0\npath,label 3\n")] == ["a b.mp4 1.5 4", "path,label"]
    for row in ("a.mp4,1.5,4,0", "a.mp4, 1.5, 4, 0"):
        with pytest.raises(DataListError, match=re.escape("and the first row path,start_sec,end_sec,label)")):
            load(tmp_path, f"{row}\n")
    with pytest.raises(DataListError, match="columns that are read are called path,start_sec,end_sec,label"):
        load(tmp_path, "video,start,end,class\na.mp4,1,2,0\n")


def splits(folder: Path, *overrides: str, **lists: str) -> Splits:
    for name, rows in lists.items():
        (folder / f"{name}.csv").write_text(rows)
    given = [f"data.{name}={folder}/{name}.csv" for name in lists]
    return load_splits(load_config("hmdb51_adapt", [f"data.root={folder}", "data.classes=9", *given, *overrides]))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(name.encode() * 9)
    (tmp_path / "copy.mp4").write_bytes(b"a" * 9)
    return tmp_path


@pytest.mark.parametrize(
    ("train", "test", "shared"),
    [
        ("a.mp4,0,2,0", "a.mp4,2,4,0", 0),
        ("a.mp4,0,2.1,0\na.mp4,8,9,1", "a.mp4,2,4,0\nb.mp4,1,2,0", 1),
        ("a.mp4,5,6,0\na.mp4,0,2,0", "a.mp4,5.5,,0", 1),
        ("a.mp4,5,6,0\nb.mp4,,,0", "b.mp4,1,2,0\n./a.mp4,0,9,0", 2),
        ("a.mp4,0,2,0", "copy.mp4,2,4,0", 0),
        ("a.mp4,0,2,0\na.mp4,3,5,0", "copy.mp4,2,4,0", 1),
    ],
)
def test_lists_share_what_overlaps(
    train: str, test: str, shared: int, folder: Path, said: pytest.LogCaptureFixture
) -> None:
    found = splits(folder, train=HEADER + train, test=HEADER + test)
    told = [message for message in said.messages if "data.train and data.test" in message]
    assert len(told) == (shared > 0) and len(found.test) == test.count("\n") + 1
    assert all(f"share {shared} " in line or f": {shared} file" in line for line in told)


def test_parts_overlap_as_their_pairs_do() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        one, other = (np.sort(np.add(rng.integers(0, 30, (n, 2)), [0.0, 0.5]), axis=1) for n in rng.integers(1, 4, 2))
        pairs = any(Part(*a).overlaps(Part(*b)) for a in one for b in other)
        assert overlap(one, other) == overlap(other, one) == pairs


def test_a_part_twice_is_one_too_many(folder: Path, said: pytest.LogCaptureFixture) -> None:
    train = HEADER + "a.mp4,0,2,0\na.mp4,1,3,1\n./a.mp4,0,2,0\n"
    test = HEADER + "b.mp4,0,2,0\nb.mp4,1,3,0\nb.mp4,,,0\n"
    assert len(splits(folder, train=train, test=test).test) == 3
    (line,) = said.messages
    assert "data.train: 1 row names a file" in line and "'./a.mp4#t=0,2' (line 4, label 0) is the same" in line
    with pytest.raises(DataListError, match=r"'\./a\.mp4#t=1,3' \(line 5, label 0\) .*; take the wrong one out"):
        splits(folder, train=train + "./a.mp4,1,3,0\n", test=test)
    with pytest.raises(DataListError, match=r"1 video appears twice, first 'b\.mp4#t=0,2' \(lines 2 and 5\)"):
        splits(folder, train=train, test=test + "b.mp4,0.0,2.0,0\n")


def test_the_config_names_columns(folder: Path) -> None:
    columns = "data.columns=[path, start_sec, end_sec, label]"
    found = splits(folder, columns, train="a.mp4,0,2,0\n", test="b.mp4,0,2,0\n")
    assert found.train[0].part == found.test[0].part == Part(0, 2)
    for wrong in ("[path]", "[path, label, label]"):
        with pytest.raises(ConfigError, match=r"data\.columns = .*each once at most"):
            splits(folder, f"data.columns={wrong}", train="a.mp4 0\n", test="b.mp4 0\n")


def test_a_path_with_seconds_in_it_gets_a_hint(folder: Path) -> None:
    with pytest.raises(
        DataListError, match=r"a\.mp4 0 2 \(line 1\): No such file.*\(if a start and an end stand before"
    ):
        splits(folder, train="a.mp4 0 2 0\n", test="b.mp4 0\n")


def test_parts_of_a_film_are_held_out_together() -> None:
    rows = [(f"{number // 4}.mp4", 0, number) for number in range(40)]
    videos = VideoRows(Path(), rows, [Part(line, line + 1) for _, _, line in rows])
    held = {name for name, held in zip(videos.names(), held_out(videos, 0.2, None, 0), strict=True) if held}
    assert len(held) == 2


def test_rows_say_parts_in_frames(tmp_path: Path) -> None:
    """mmaction2's and VideoMAE's lists: spaces between, a path with spaces too, and mmaction2's offset."""
    columns = ["path", "num_frames", "label"]
    videos = load(tmp_path, "a b/c 163 1\nd 7 0\n", columns)
    assert list(videos) == [
        Video("a b/c", Path("/videos/a b/c"), 1, 1, FramePart(0, 163)),
        Video("d", Path("/videos/d"), 0, 2, FramePart(0, 7)),
    ]
    assert list(videos.ids()) == ["a b/c", "d"] and videos.select(np.array([1]))[0] == videos[1]
    assert list(load(tmp_path, "a b/c,163,1\nd,7,0\n", columns)) == list(videos)
    videos = load(tmp_path, "a 12 163 3\n", ["path", "offset", "num_frames", "label"])
    assert videos[0].part == FramePart(12, 175) and videos[0].id == "a#frame=12,175"
    listed = load(tmp_path, "path,num_frames,label,offset\na,,3,\nb,,3,9\nc,4,3,2\n")
    assert [video.part for video in listed] == [None, FramePart(9, math.inf), FramePart(2, 6)]
    write_list(tmp_path / "again.csv", list(listed))
    again = VideoList().load(str(tmp_path / "again.csv"), Path("/videos"))
    assert (tmp_path / "again.csv").read_text() == "path,offset,num_frames,label\na,,,3\nb,9,,3\nc,2,4,3\n"
    assert list(again) == list(listed)
    for columns, row, said in (
        (["path", "num_frames", "label"], "a -1 0", "num_frames = '-1': expected a whole number"),
        (["path", "num_frames", "label"], "a 0 0", "num_frames = 0: allowed: 1 or more"),
        (["path", "num_frames", "label"], "7 0", "1 value; expected 3"),
        (["num_frames", "path", "label"], "7 a b 1", None),
        (["label", "num_frames", "path"], "1 7 a b", None),
    ):
        if said is None:
            assert [v.name for v in load(tmp_path, f"{row}\n", columns)] == ["a b"]
        else:
            with pytest.raises(DataListError, match=said):
                load(tmp_path, f"{row}\n", columns)


def test_parts_in_seconds_and_in_frames_are_not_compared(folder: Path) -> None:
    with pytest.raises(DataListError, match="some rows are parts in seconds, others in frames; choose one for all"):
        splits(folder, train=f"{HEADER}a.mp4,1,2,0\n", test="path,num_frames,label\nb.mp4,3,1\n")
    splits(folder, train=f"{HEADER}a.mp4,,,0\n", test="path,num_frames,label\nb.mp4,3,1\n")
