"""`prepare_data.py check`: one film under two names or labels, within a list and between lists, and films that look alike."""

import csv
from pathlib import Path

import pytest

from videoadapt.cli import prepare
from videoadapt.preparing.comparison import KINDS, compare


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two lists over nine names of five contents."""
    contents = {"a.mp4": b"1" * 9, "a_copy.mp4": b"1" * 9, "b.mp4": b"2" * 9, "c.mp4": b"3" * 9, "d.mp4": b"4" * 9,
                "d_copy.mp4": b"4" * 9, "alone.mp4": b"55", "none.mp4": b""}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "b_link.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "train.csv").write_text(
        "a.mp4 0\nb.mp4 1\nb_link.mp4 1\nd.mp4 0\nalone.mp4 0\nnone.mp4 0\nc.mp4 0\nc.mp4 1\n"
    )
    (tmp_path / "test.csv").write_text("a_copy.mp4 0\nb.mp4 1\nd_copy.mp4 1\n")
    return tmp_path


def test_every_kind_is_found_within_and_between_lists(root: Path) -> None:
    findings, unread = compare([str(root / "train.csv"), str(root / "test.csv")], root, None)
    found = [(f.kind, f.other.video.id, Path(f.other.source).stem, f.one.video.id, f.one.video.line) for f in findings]
    assert found == [
        ("contradiction", "d_copy.mp4", "test", "d.mp4", 4),
        ("contradiction", "c.mp4", "train", "c.mp4", 7),
        ("shared", "b.mp4", "test", "b.mp4", 2),
        ("copy", "a_copy.mp4", "test", "a.mp4", 1),
        ("twice", "b_link.mp4", "train", "b.mp4", 2),
    ]
    assert unread == []


def test_the_command_lists_what_it_finds(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = [str(root / "train.csv"), str(root / "test.csv")]
    options = ["--root", str(root), "--out", str(root / "out"), "--bytes-only"]
    assert prepare.main(["check", *lists, *options]) == 3
    shown = capsys.readouterr().out
    assert (
        f"      1  copy: {KINDS['copy']}\n         a_copy.mp4 ({lists[1]}, line 1, label 0) and a.mp4 ({lists[0]}"
        in shown
    )
    assert f"5 findings: {root / 'out' / 'findings.csv'}" in shown
    with (root / "out" / "findings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["contradiction", "contradiction", "shared", "copy", "twice"]
    assert (rows[3]["one_video"], rows[3]["other_list"], rows[3]["other_line"]) == ("a.mp4", lists[1], "1")
    (root / "good.csv").write_text("a.mp4 0\nb.mp4 1\n")
    assert prepare.main(["check", str(root / "good.csv"), *options]) == 0


def test_files_that_are_not_there_are_no_good_list(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a wrong --root nothing was found to be alike, and the list passed."""
    (root / "some.csv").write_text("a.mp4 0\ngone.mp4 1\n")
    command = ["check", str(root / "some.csv"), "--out", str(root / "out"), "--bytes-only", "--root"]
    assert prepare.main([*command, str(root)]) == 3
    shown = capsys.readouterr().out
    assert (
        "1  unreadable" in shown and f"gone.mp4 ({root / 'some.csv'}, line 2, label 1): there is no such file" in shown
    )
    assert prepare.main([*command, str(root / "elsewhere")]) == 2
    said = capsys.readouterr().err
    assert (
        f"--root {root / 'elsewhere'}: none of 2 videos" in said and "name the folder that the paths start from" in said
    )


def test_near_copies_are_reported_and_change_no_exit_code(root: Path) -> None:
    def near(paths: list[Path]) -> tuple[list[tuple[int, int, int]], dict[int, str]]:
        assert [path.name for path in paths] == [
            "a.mp4",
            "b.mp4",
            "d.mp4",
            "alone.mp4",
            "none.mp4",
            "c.mp4",
        ]  # contents, once
        return [(0, 3, 5)], {4: "is empty"}

    findings, unread = compare([str(root / "train.csv"), str(root / "test.csv")], root, near)  # type: ignore[arg-type]
    last = findings[-1]
    assert (last.kind, last.one.video.id, last.other.video.id, last.frames) == ("alike", "a.mp4", "alone.mp4", 5)
    assert [(place.video.id, why) for place, why in unread] == [("none.mp4", "is empty")]
