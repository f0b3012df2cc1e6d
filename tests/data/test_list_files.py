"""Lists and class files as people bring them: what is wrong with a row is said, and a byte-order mark is none of the text."""

import os
from pathlib import Path

import pytest

from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.list_files import read_classes, read_text
from videoadapt.errors import DataListError


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a.mp4,0\nb.mp4,1\n", "2 rows .* first line 1: 'a.mp4,0' (a comma stands before the label; write a space)"),
        ("a.mp4, 0\n", "line 1: 'a.mp4, 0' (a comma stands before the label"),
        ("a.mp4;0\n", "line 1: 'a.mp4;0' (a semicolon stands before the label; write a space)"),
        ("0,a.mp4\n", "(the label stands first; write it last)"),
        ("12 right/a b.mp4\n", "(the label stands first; write it last)"),
        ('"my a.mp4",0\n', "(a comma stands before the label"),
        ("path label\na.mp4 0\n", "1 row .* line 1: 'path label' (a header; take this line out)"),
        ("video_path,class\na.mp4 0\n", "(a header; take this line out)"),
        (
            "a.mp4 jump\n",
            "(a name, 'jump', stands for the label; write the number of its line in the class file, from 0)",
        ),
        ("a.mp4,brush hair\n", "(a name, 'brush hair', stands for the label"),
        ("my a.mp4 jump\n", "(a name, 'jump', stands for the label"),
        ("a.mp4 -1\n", "(labels count from 0)"),
        ("a.mp4\t0\n", "(the label follows a tab; write a space)"),
    ],
)
def test_a_row_that_is_none_gets_a_hint(rows: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(DataListError) as error:
        VideoList().load(str(tmp_path / "l.csv"), tmp_path)
    assert all(part in str(error.value) for part in said.split(" .* ")) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["run\nwalk a bit\n", "\ufeffrun\nwalk a bit", "run\r\nwalk a bit\r\n", "run\nwalk a bit\n\n"]
)
def test_marks_and_line_ends_are_no_part_of_a_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(content.encode())
    assert read_classes(tmp_path / "c.txt") == ["run", "walk a bit"]


def test_only_a_line_ends_a_class_name(tmp_path: Path) -> None:
    """Other separators, which splitlines() knows, are letters of a name, as they are in lists."""
    names = ["one\x85half", "two\u2028three", "tab\tin it", "$x$ <b>&", "back\\slash", "\u65e5\u672c"]
    (tmp_path / "c.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    assert read_classes(tmp_path / "c.txt") == names


@pytest.mark.parametrize(
    "names",
    [
        ["1 Apply", "2 Archery"], ["0 a", "1 video call"], ["level 1", "level 10", "level 2"], ["3", "1", "2"], ["a 7", "b 1"],
        ["rest", "1 foot", "2 feet"],
    ],
)  # fmt: skip
def test_names_with_numbers_are_names(names: list[str], tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    assert read_classes(tmp_path / "c.txt") == names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\nb\na\n", "'a' appears twice (lines 1 and 3); take one out"),
        ("a\n\nb\n", "line 2 is empty"),
        ("a\n", "holds 'a' alone; expected at least two"),
        ("", "line 1 is empty"),
        ("a 1\nb 0\n", "line 1 is 'a 1', and stands for label 0; a class file holds the names alone"),
        ("1,a\n3,b\n2,c\n", "line 2 is '3,b', and stands for label 1"),
        ("id,name\n0,a\n1,b\n", "line 1 is 'id,name', a header; take it and the numbers out"),
        ("a\nb\n".encode("utf-16"), "is not UTF-8 text (byte 0); save it as UTF-8"),
    ],
)
def test_class_files_that_cannot_be_used(content: str | bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataListError) as error:
        read_classes(tmp_path / "c.txt")
    assert str(error.value).startswith(f"{tmp_path}/c.txt: ") and said in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_a_list_that_never_ends_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for endless in (tmp_path / "pipe", Path("/dev/tty0"), Path("/dev/null")):
        if endless.exists():
            with pytest.raises(DataListError, match=f"{endless}: cannot be read: is no regular file; name a file"):
                read_text(endless)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="a shell has no name for its pipes")
def test_a_list_that_the_shell_hands_over_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a.mp4 0\n")
    os.close(writing)
    try:
        assert read_text(Path(f"/dev/fd/{reading}")) == "a.mp4 0\n"
    finally:
        os.close(reading)
