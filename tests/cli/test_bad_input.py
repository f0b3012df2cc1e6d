"""Broken files and broken lists through the front doors: one clear line each, with the file, the row, and what to do."""

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media import write_video
from tests.toy_runs import assert_same_run, copy_tree, environment, results, toy_config, write_config
from videoadapt.cli import demo, train
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.structures import Video
from videoadapt.registry import DATASETS
from videoadapt.video.decoders import open_video

DAMAGED = r"is damaged, cut off, or no video \(.*\); copy it again, or encode it anew"


def patched(path: Path, *changes: tuple[bytes, int, bytes]) -> Path:
    """Overwrite bytes at an offset behind a marker."""
    content = bytearray(path.read_bytes())
    for marker, offset, new in changes:
        at = content.index(marker) + len(marker) + offset
        content[at : at + len(new)] = new
    path.write_bytes(content)
    return path


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("class/video.avi 3\n" * 50)


def half(path: Path) -> None:
    content = write_video(path, container_options={"movflags": "faststart"}).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped(path: Path) -> None:
    content = bytearray(write_video(path, gop=48, options={"crf": "5"}).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(byte ^ 0xFF for byte in content[middle : middle + 2000])
    path.write_bytes(content)


def no_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def more_sizes_than_frames(path: Path) -> None:
    patched(write_video(path), (b"stsz", 8, struct.pack(">I", 100_000)))


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty.mp4": (empty, r"is empty \(0 bytes\); copy it again"),
    "text.mp4": (text, DAMAGED),
    "half.mp4": (half, DAMAGED),
    "flipped.mp4": (flipped, DAMAGED),
    "no_frames.mp4": (no_frames, "no video stream"),
    "more_sizes.mp4": (more_sizes_than_frames, "no frame decodes; copy it again, or encode it anew"),
    "sound.mp4": (sound_only, "no video stream"),
}
GOOD = 8


ODD_BUT_WHOLE = ("announces_more.avi", "late.mp4", "zero_duration.mp4", "wide.mp4")


def write_odd_but_whole(folder: Path) -> None:
    """Files whose headers are wrong or whose size is uncommon, and which can be read."""
    announces_more, late, zero_duration, wide = (folder / name for name in ODD_BUT_WHOLE)
    frames = struct.pack("<I", 100_000)
    patched(write_video(announces_more, codec="mpeg4"), (b"avih", 20, frames), (b"strh", 36, frames))
    patched(write_video(late), (b"stts", 8, struct.pack(">I", 100_000)))
    places = (b"mvhd", 16, bytes(4)), (b"tkhd", 20, bytes(4)), (b"mdhd", 16, bytes(4))
    patched(write_video(zero_duration), *places)
    write_video(wide, height=16, width=16_000)


@pytest.fixture(scope="module")
def tested(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, Path]:
    """(exit code, run folder, folder of files) of a run with one broken training file in 120, and many to test."""
    folder = tmp_path_factory.mktemp("bad")
    toy_data = toy_config(folder, clips)["data"]
    rendered = DATASETS.build(toy_data["dataset"]).load("train", clips)
    rows = []
    for number in range(120):
        video = rendered[number % len(rendered)]
        os.link(video.path, folder / f"train_{number}.mp4")
        rows.append(f"train_{number}.mp4 {video.label}\n")
    (folder / "train_90.mp4").unlink()
    half(folder / "train_90.mp4")
    (folder / "train.csv").write_text("".join(rows))
    names = [f"test_{number}.mp4" for number in range(GOOD)]
    for name, video in zip(names, rendered, strict=False):
        os.link(video.path, folder / name)
    for name, (break_it, _) in BROKEN.items():
        break_it(folder / name)
    write_odd_but_whole(folder)
    names += [*BROKEN, *ODD_BUT_WHOLE]
    (folder / "test.csv").write_text("".join(f"{name} {number % 8}\n" for number, name in enumerate(names)))
    data = {
        **toy_data, "dataset": {"name": "video_list"}, "root": str(folder), "classes": 8,
        "train": str(folder / "train.csv"), "test": str(folder / "test.csv"),
    }  # fmt: skip
    config = toy_config(folder / "run", folder, data=data, train={"epochs": 1})
    return train.main(["--cfg", str(write_config(folder / "c.yaml", config))]), folder / "run", folder


def test_training_ends_and_names_and_counts_the_broken_file(tested: tuple[int, Path, Path]) -> None:
    _, run, folder = tested
    log = (run / "run.log").read_text(encoding="utf-8")
    skipped = re.findall(r"training skips (\S+) of data.train, line (\d+): (.*)", log)
    assert [row[:2] for row in skipped] == [("train_90.mp4", "91")]
    assert re.fullmatch(re.escape(f"{folder}/train_90.mp4: ") + DAMAGED, skipped[0][2])
    assert "skipped 1 of 120 training videos that could not be read (0.83 %; reasons above)" in log


def test_testing_counts_broken_files_as_wrong_and_lists_them(tested: tuple[int, Path, Path]) -> None:
    code, run, folder = tested
    found = results(run)
    assert code == 3 and found["num_videos"] == GOOD + len(BROKEN) + 4
    listed = {item["video"]: item for item in found["unreadable"]}
    assert list(listed) == list(BROKEN)  # and none of the odd ones
    for line, (name, (_, reason)) in enumerate(BROKEN.items(), start=GOOD + 1):
        assert listed[name]["line"] == line
        assert re.fullmatch(re.escape(f"{folder}/{name}: ") + reason, listed[name]["reason"])
    right = found["readable_only"]["top1"] * (GOOD + 4)
    assert found["top1"] == pytest.approx(right / found["num_videos"], abs=1e-3)


@pytest.mark.parametrize("name", BROKEN)
def test_demo_says_what_is_wrong_in_one_line(
    tested: tuple[int, Path, Path], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _, run, folder = tested
    capfd.readouterr()
    assert demo.main([str(folder / name), "--run", str(run)]) == 2
    assert re.fullmatch(f"error: {folder}/{name}: {BROKEN[name][1]}\n", capfd.readouterr().err)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_wrong_headers_and_wide_pictures_are_read_in_full(tested: tuple[int, Path, Path], decoder: str) -> None:
    for name in ODD_BUT_WHOLE:
        with open_video(tested[2] / name, {"name": decoder}) as film:
            assert film.num_frames == 48, name
            assert film.get([47]).shape == (1, film.height, film.width, 3)
    assert film.width == 16_000


def test_files_that_are_no_files_are_named_before_training(
    tested: tuple[int, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, folder = tested
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to("nothing.mp4")
    for name, reason in {
        "folder.mp4": "is a folder; name a file, or set data.decoder.name frame_folder for one of frames",
        "link.mp4": "is a link to nothing.mp4, which is not there; copy the file itself, or fix the link",
        "none.mp4": "No such file or directory",
    }.items():
        (tmp_path / "test.csv").write_text(f"{folder}/test_0.mp4 0\n\n{tmp_path}/{name} 1\n")
        assert train.main(["--cfg", str(folder / "c.yaml"), f"data.test={tmp_path}/test.csv"]) == 2
        expected = f"1 of the 2 videos of data.test is not there, first {tmp_path}/{name} (line 3): {reason}"
        shown = capsys.readouterr().err.partition("error: ")[2]  # behind what it says of the training list
        assert expected in shown and shown.count("\n") == 1
        assert demo.main([str(tmp_path / name), "--run", str(folder / "run")]) == 2
        said = f"error: {tmp_path}/{name}: {'holds no video' if name == 'folder.mp4' else reason}"
        shown = capsys.readouterr().err
        assert shown.startswith(said) and shown.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "holds no videos; expected rows of `path label`"),
        ("\n \n", "holds no videos; expected rows of `path label`"),
        ("a.mp4 0\nb c.mp4\t1\n", r"first line 2: 'b c.mp4\\t1' \(the label follows a tab; write a space\)"),
        (
            "a.mp4 0\n\nb.mp4 abc\n",
            "1 row is not `path label` with a whole number as label, first line 3: 'b.mp4 abc' .a name, 'abc', stands .*",
        ),
        ("a.mp4 0\nb.mp4\n", "first line 2: 'b.mp4'"),
        (
            "\n{file} 51\n",
            r"1 label is outside 0\.\.50 .* first 51 of '{file}' \(line 2\); fix the list or data.classes",
        ),
        (
            f"a.mp4 0\na.mp4 {'7' * 25}\n",
            f"1 row is not `path label` .*, first line 2: 'a.mp4 {'7' * 25}' .a label has more than 18 digits.*",
        ),
        (f"a.mp4 {'7' * 5000}\n", f"1 row is not `path label` .*, first line 1: 'a.mp4 {'7' * 194}...'"),
        ("a.mp4 0\n".encode("utf-16"), r"is not UTF-8 text \(byte 0\); save it as UTF-8"),
    ],
)
def test_broken_lists(content: str | bytes, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.mp4").touch()
    file = str(tmp_path / "good.mp4")
    content = content.replace("{file}", file).encode() if isinstance(content, str) else content
    (tmp_path / "list.csv").write_bytes(content)
    config = toy_config(tmp_path / "out", tmp_path)
    config["data"] |= {"dataset": {"name": "video_list"}, "train": str(tmp_path / "list.csv"), "classes": 51}
    path = write_config(tmp_path / "c.yaml", config)
    assert train.main(["--cfg", str(path), "test.enable", "false"]) == 2
    shown = capsys.readouterr().err
    assert re.search(f"^error: data.train.*{expected.replace('{file}', re.escape(file))}\n$", shown), shown
    assert f"data.train = {tmp_path}/list.csv: " in shown or "line 2" in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encode", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")])
def test_byte_order_mark_and_windows_line_ends_change_nothing(encode: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(encode("ä b.mp4 0\nodd\x85name\u2028.mp4 1\n".encode()))
    assert list(VideoList().load(str(tmp_path / "list.csv"), tmp_path)) == [
        Video("ä b.mp4", tmp_path / "ä b.mp4", 0, 1),
        Video("odd\x85name\u2028.mp4", tmp_path / "odd\x85name\u2028.mp4", 1, 2),
    ]


def test_a_file_cut_between_frames_gives_those_that_are_there(tmp_path: Path) -> None:
    """Transport streams announce no size: a shorter film is all that there is, and it is right."""
    whole = write_video(tmp_path / "whole.ts")
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with open_video(whole, {"name": "pyav"}) as film, open_video(cut, {"name": "pyav"}) as part:
        assert 10 < part.num_frames < 40
        shared = part.num_frames - 1  # the last packet is cut itself
        assert np.array_equal(part.get(range(shared)), film.get(range(shared)))


BLOCKING = """
import re
from videoadapt.video.decoders.pyav import PyAV
from videoadapt.errors import DecodeError
from videoadapt.registry import DECODERS

@DECODERS.register
class Blocking(PyAV):
    def __init__(self, path, /, *, threads: int = 1, block: bool):
        super().__init__(path, threads=threads)
        if path.name == "train_7.mp4":
            if block:
                re.match(r"(a+)+$", "a" * 60 + "b")  # years of a native loop that holds Python's lock
            raise DecodeError("no years to wait")
"""


@pytest.mark.slow
def test_a_decoder_that_never_comes_back_costs_one_file(clips: Path, tmp_path: Path) -> None:
    """The epoch goes on in the order it would have had without that file, and the run and its test say which it is."""
    copy_tree(tmp_path)
    (tmp_path / "videoadapt" / "video" / "decoders" / "blocking.py").write_text(BLOCKING)
    toy_data = toy_config(tmp_path, clips)["data"]
    rendered = DATASETS.build(toy_data["dataset"]).load("train", clips)
    for number in range(24):
        os.link(rendered[number].path, tmp_path / f"train_{number}.mp4")
    rows = [f"train_{number}.mp4 {rendered[number].label}\n" for number in range(24)]
    (tmp_path / "train.csv").write_text("".join(rows))
    (tmp_path / "test.csv").write_text("".join(rows[5:9]))
    data = {
        **toy_data, "dataset": {"name": "video_list"}, "classes": 8, "workers": 2,
        "train": "train.csv", "test": "test.csv", "limit_sec": 5, "max_unreadable": 0.1, "root": str(tmp_path),
    }  # fmt: skip
    for name, block in (("blocks", True), ("raises", False)):
        config = toy_config(
            tmp_path / name,
            tmp_path,
            data=data | {"decoder": {"name": "blocking", "block": block}},
            train={"epochs": 1},
        )
        command = [sys.executable, "tools/run_net.py", "--cfg", str(write_config(tmp_path / f"{name}.yaml", config))]
        environ = environment() | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=600)
        assert done.returncode == 3, done.stderr
    assert_same_run(tmp_path / "blocks", tmp_path / "raises")
    log = (tmp_path / "blocks" / "run.log").read_text(encoding="utf-8")
    reason = f"{tmp_path}/train_7.mp4: took longer than 5 s; raise data.limit_sec, or encode it anew, or take it out of"
    assert f"training skips train_7.mp4 of data.train, line 8: {reason}" in log
    (found,) = results(tmp_path / "blocks")["unreadable"]
    assert found["video"] == "train_7.mp4" and found["reason"].startswith(reason)
