"""A file is there whole or not at all, and what was written is read back."""

import errno
import json
import os
from pathlib import Path

import pytest

from videoadapt.files import read_jsonl, write_json, write_text


def test_json_is_readable_and_comes_back(tmp_path: Path) -> None:
    value = {"video": "Grüße, 日本.mp4", "top1": 91.25, "reasons": [None, "x"]}
    write_json(tmp_path / "new" / "folder" / "r.json", value)
    text = (tmp_path / "new" / "folder" / "r.json").read_bytes().decode("utf-8")
    assert json.loads(text) == value and "Grüße, 日本" in text and text.endswith("}\n")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["r.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_half_written_record_is_left_out(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "m.jsonl") == []
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read_jsonl(tmp_path / "m.jsonl") == [{"step": 1}, {"step": 2}]
