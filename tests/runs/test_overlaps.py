"""Copies under other names are told before a run, by a look that is bounded."""

import logging
from pathlib import Path

import pytest

from videoadapt import logger
from videoadapt.data.file_identity import find_files
from videoadapt.data.videos import VideoRows
from videoadapt.runs import overlaps
from videoadapt.runs.overlaps import say_overlaps


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def lists(root: Path, **splits: dict[str, tuple[bytes, int]]) -> dict[str, VideoRows]:
    """Files with contents and labels of each list."""
    for files in splits.values():
        for name, (content, _) in files.items():
            (root / name).write_bytes(content)
    return {
        split: VideoRows(root, [(name, label, line) for line, (name, (_, label)) in enumerate(files.items(), start=1)])
        for split, files in splits.items()
    }


def look(videos: dict[str, VideoRows]) -> None:
    say_overlaps(videos, {split: find_files(rows) for split, rows in videos.items()})


def test_the_same_bytes_in_training_and_test_are_told(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    same, other = b"x" * 100_000, b"y" * 100_000
    look(
        lists(
            tmp_path,
            train={"a.mp4": (same, 0), "b.mp4": (b"short", 1)}, val={}, test={"c.mp4": (other, 0), "d.mp4": (same, 0)},
        )
    )  # fmt: skip
    (told,) = [record.message for record in said.records if record.levelno == logging.WARNING]
    assert told.startswith(
        "data.train and data.test: 1 file seems to be a copy under another name, first d.mp4 (line 2) of a.mp4 (line 1): "
        "the test accuracy will be too high; the command `prepare check`"
    )
    looked = "looked for copies under other names: 3 of the 3 files that have another one's size, 16384 bytes of each"
    assert looked in said.messages


def test_copies_within_a_list_are_told_by_their_labels(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    rows = {
        "a.mp4": (b"1", 0),
        "b.mp4": (b"1", 1),
        "c.mp4": (b"22", 0),
        "d.mp4": (b"22", 0),
        "empty": (b"", 0),
        "e": (b"", 0),
    }
    look(lists(tmp_path, train=rows, val={}, test={}))
    told = [record.message for record in said.records if record.levelno == logging.WARNING]
    assert len(told) == 2
    for line, name, harm in zip(told, "bd", ("one of their two labels is wrong", "they count more often"), strict=True):
        assert f": 1 file seems to be a copy under another name, first {name}.mp4" in line and harm in line


def test_files_without_a_twin_are_not_opened(
    tmp_path: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlaps, "part_of", lambda path: pytest.fail(path))
    look(lists(tmp_path, train={"a": (b"1", 0), "b": (b"22", 0)}, val={}, test={"c": (b"333", 0)}))
    assert said.messages == []


def test_the_look_is_bounded_and_begins_across_lists(
    tmp_path: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlaps, "MOST_OPENED", 4)
    opened: list[str] = []
    monkeypatch.setattr(overlaps, "part_of", lambda path: opened.append(Path(path).name))
    train = {f"{n}": (b"z" * (n // 2 + 1), 0) for n in range(20)} | {"last": (b"z" * 90, 0)}
    look(lists(tmp_path, train=train, val={}, test={"t": (b"z" * 90, 0)}))
    assert opened[:2] == ["last", "t"] and len(opened) == 4
    assert "4 of the 22 files that have another one's size" in said.messages[0]
    assert said.messages[0].endswith("; the command `prepare check` looks at all")


def test_names_of_one_file_are_no_copies(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """They are told as shared."""
    videos = lists(tmp_path, train={"a": (b"1", 0)}, val={}, test={"b": (b"22", 0)})
    (tmp_path / "b").unlink()
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    look(videos)
    assert [message.partition(":")[0] for message in said.messages] == ["data.train and data.test share 1 video"]
