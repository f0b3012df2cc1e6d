"""What names on a command line stand for: files, folders, patterns, lists."""

from pathlib import Path

import pytest

from videoadapt.errors import DataListError
from videoadapt.inference.sources import videos_listed, videos_named


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "deep/er/c.webm", "deep/[x] 3.mp4", "frames/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_is_all_videos_below_it(tree: Path) -> None:
    assert videos_named([tree]) == [tree / n for n in ("a.MKV", "b.mp4", "deep/[x] 3.mp4", "deep/er/c.webm")]
    with pytest.raises(DataListError, match=r"frames: holds no video .*\.mp4.*frame_folder$"):
        videos_named([tree / "frames"])


def test_a_pattern_and_each_video_once(tree: Path) -> None:
    assert videos_named([tree / "b.mp4", f"{tree}/*.*[4V]", tree / "none.mp4"]) == [
        tree / n for n in ("b.mp4", "a.MKV", "none.mp4")
    ]
    assert videos_named([tree / "deep/[x] 3.mp4"]) == [
        tree / "deep/[x] 3.mp4"
    ]  # a name, although it looks like a pattern
    assert videos_named([f"{tree}/**/*.webm", f"{tree}/b.mp4#t=1,2"]) == [tree / "deep/er/c.webm", tree / "b.mp4#t=1,2"]
    assert videos_named([f"{tree}/d*"]) == [tree / "deep/[x] 3.mp4", tree / "deep/er/c.webm"]
    with pytest.raises(DataListError, match=r"x\*: no file fits this pattern"):
        videos_named([tree / "b.mp4", f"{tree}/x*"])


def test_a_folder_of_frames_is_a_video_to_its_decoder(tree: Path) -> None:
    assert videos_named([tree / "frames"], folders=True) == [tree / "frames"]
    assert tree / "deep/er" in videos_named([tree], folders=True)


def test_lists_with_and_without_labels(tree: Path) -> None:
    path = tree / "list.txt"
    path.write_text("b.mp4 3\n\ndeep/[x] 3.mp4\r\nmy clip.mp4 0,3\nnone of them.mp4 -\nb.mp4\nno label 1\n")
    (tree / "no label 1").touch()
    names = ("b.mp4", "deep/[x] 3.mp4", "my clip.mp4", "none of them.mp4", "no label 1")
    assert videos_listed(path, tree) == [tree / name for name in names]
    path.write_text("path,start_sec,end_sec,label\nb.mp4,1.5,4,2\nb.mp4,,,2\n")
    assert videos_listed(path, tree) == [tree / "b.mp4#t=1.5,4", tree / "b.mp4"]


def test_lists_that_cannot_be_used(tree: Path) -> None:
    path = tree / "list.txt"
    path.write_text("path,start_sec,end_sec,label\nb.mp4,x,4,2\n")
    for content, said in ((None, "no such file"), ("\n", "holds no row"), (path.read_text(), "start_sec = 'x'")):
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(DataListError, match=f"(?i)^{path}: .*{said}"):
            videos_listed(path, tree)
