"""`prepare_data.py reencode`: the same frames, upright, at the same times, in files that seek exactly."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.frames import assert_same, decoders_here, read_in_order, require_decoder, shown_by_ffmpeg
from tests.live_runs import descendants, is_gone
from tests.media import UNUSUAL, picture, write_film, write_halves, write_two_sizes, write_video
from tests.toy_runs import REPOSITORY, environment
from videoadapt.cli import prepare
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.errors import DecodeError
from videoadapt.preparing.encoding import Encoded, Settings, write_h264
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._probe import probe

FINE = Settings(short_side_px=256, keyframe_every=12, crf=1)
# Grey levels between source and copy at crf 1, mean and mean with sign: measured below 0.9 and 0.1, and 3.5 and 0.7 where
# the source's chroma is interpolated otherwise (10 bits). A wrong matrix or range gives more than 3 with sign.
SAME, SAME_COLOUR = 5.0, 1.5
SAME_BUT_CHROMA = 16.0  # of RGB, half of whose chroma a copy leaves out: 14 for a GIF, which mixes colours from dots
KINDS = {
    "mpeg4.avi": {"codec": "mpeg4", "bframes": 2, "options": {"qscale": "2", "flags": "+qscale"}},
    "open.mp4": {"bframes": 3, "options": {"x264-params": "open-gop=1"}},
    "edit_list.mp4": {"bframes": 2, "trim_frames": 5},
    "bt709.mp4": {"options": {"x264-params": "colormatrix=bt709"}},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "10bit.mp4": {"pix_fmt": "yuv420p10le"},
    "rotated_90.mp4": {"counterclockwise": 90, "bframes": 2},
    "rotated_180.mp4": {"counterclockwise": 180},
    "rotated_270.mp4": {"counterclockwise": 270},
    "one_frame.mp4": {"num_frames": 1},
    "transport.ts": {"bframes": 3},
}
RGB = {  # codec, pixel format
    "x264.mp4": ("libx264rgb", "bgr24"),
    "vp9.webm": ("libvpx-vp9", "gbrp"),
    "png.mov": ("png", "rgb24"),
    "animation.apng": ("apng", "rgb24"),
    "huffman.avi": ("huffyuv", "rgb24"),
    "palette.gif": ("gif", "rgb8"),
}


def assert_copied(source: Path, expected: np.ndarray, same: float = SAME) -> None:
    """The copy of `source` has these frames, upright, for every decoder, and says so in the same way to all."""
    copy = source.parent / "new.mp4"
    result = write_h264((source, copy), FINE)
    assert isinstance(result, Encoded) and result.frames == len(expected), result
    info = probe(copy)
    assert (info.codec, info.seekable, any(info.orientation)) == ("h264", True, False)
    assert info.keys == tuple(range(0, len(expected), 12))
    shown = shown_by_ffmpeg(copy)
    for decoder in decoders_here():
        require_decoder(decoder)
        with open_video(copy, {"name": decoder}) as opened:
            frames = opened.get(range(opened.num_frames))
        assert frames.shape == expected.shape
        assert_same(frames, shown)
        for index, frame_HWC in enumerate(frames.astype(np.float32)):
            distances = np.abs(frame_HWC - expected).mean((1, 2, 3))
            assert distances.argmin() == index and distances[index] < same
        assert np.abs((frames.astype(np.float32) - expected).mean((0, 1, 2))).max() < SAME_COLOUR


@pytest.mark.parametrize("name", KINDS)
def test_the_same_frames_upright_and_in_their_colours(name: str, tmp_path: Path) -> None:
    source = write_video(tmp_path / name, **KINDS[name])
    assert_copied(source, read_in_order(source))


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_copy_shows_what_ffmpeg_shows_of_the_source(name: str, tmp_path: Path) -> None:
    source = write_film(tmp_path, name)
    assert_copied(source, shown_by_ffmpeg(source), SAME_BUT_CHROMA if name == "rgb.mp4" else SAME)


@pytest.mark.parametrize("name", RGB)
def test_a_copy_of_rgb_pictures_reads_the_same_everywhere(name: str, tmp_path: Path) -> None:
    codec, pix_fmt = RGB[name]
    source = write_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt, num_frames=14)
    assert_copied(source, shown_by_ffmpeg(source), SAME_BUT_CHROMA)


def test_a_matrix_that_changes_is_brought_to_the_first(tmp_path: Path) -> None:
    source = write_halves(tmp_path / "a.mp4", codec="libx264", halves=[{"colorspace": 6}, {"colorspace": 1}])
    assert_copied(source, shown_by_ffmpeg(source))


def test_a_size_that_changes_is_refused(tmp_path: Path) -> None:
    source = write_two_sizes(tmp_path / "a.mp4", "libx264", {})
    result = write_h264((source, tmp_path / "new.mp4"), FINE)
    assert isinstance(result, DecodeError) and "the size changes to 128 x 96 pixels" in str(result)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("matrix", [(), (0, 1, -1, 0), (-1, 0, 0, 1)])
def test_a_copy_keeps_the_shape_of_the_film(matrix: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    size = {"height": 144, "width": 178, "codec": "mpeg4"}
    source = write_video(tmp_path / f"a.{suffix}", **size, pixel_aspect=Fraction(64, 45), matrix=matrix, num_frames=3)
    assert isinstance(write_h264((source, tmp_path / "new.mp4"), Settings(short_side_px=50)), Encoded)
    info = probe(tmp_path / "new.mp4")
    shape = Fraction(info.width, info.height) * info.pixel_aspect
    lies = suffix != "avi" and matrix[:1] == (0,)
    assert float(shape) == pytest.approx((178 / 144 * 64 / 45) ** (-1 if lies else 1), rel=1e-4)
    assert (info.width, info.height) == ((50, 62) if lies else (62, 50))


def test_square_pixels_are_not_mentioned(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", height=48, width=64, num_frames=3)
    assert isinstance(write_h264((source, tmp_path / "new.mp4"), Settings()), Encoded)
    assert b"pasp" not in (tmp_path / "new.mp4").read_bytes()


@pytest.mark.parametrize(("size", "short_side", "expected"), [
    ((96, 128), 48, (48, 64)), ((128, 96), 48, (64, 48)), ((48, 64), 256, (48, 64)), ((50, 101), 25, (24, 50)),
])  # fmt: skip
def test_the_short_side_shrinks_and_never_grows(
    size: tuple[int, int], short_side: int, expected: tuple[int, int], tmp_path: Path
) -> None:
    source = write_video(tmp_path / "a.mp4", height=size[0], width=size[1], pix_fmt="yuv444p", num_frames=5)
    assert isinstance(write_h264((source, tmp_path / "b.mp4"), Settings(short_side)), Encoded)
    info = probe(tmp_path / "b.mp4")
    assert (info.height, info.width) == expected


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_nothing_refers_to_eight_pictures_of_twelve(tmp_path: Path) -> None:
    """What a clip at a stride leaves out; nal_ref_idc of a slice says it (H.264, section 7.4.1)."""
    assert isinstance(write_h264((write_video(tmp_path / "a.mp4"), tmp_path / "b.mp4"), Settings()), Encoded)
    with av.open(str(tmp_path / "b.mp4")) as file:
        packets = sorted((p.pts or 0, bytes(p)) for p in file.demux(video=0) if p.size)
    kinds = []
    for _, data in packets:
        start = 0
        while data[start + 4] & 31 not in (1, 5):  # up to the picture's first slice
            start += 4 + int.from_bytes(data[start : start + 4], "big")
        kinds.append("needed" if data[start + 4] >> 5 & 3 else "free")
    assert len(kinds) == 48
    for first in range(0, 48, 12):
        assert kinds[first] == "needed" and kinds[first : first + 12].count("free") == 8


def test_a_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    times = [0, 40, 80, 400, 420, 1000, 1040, 1041, 2000, 2100, 2200, 2300, 2400, 3000]
    with av.open(str(tmp_path / "variable.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, milliseconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index, 48, 64), format="rgb24")
            frame.pts, frame.time_base = milliseconds + 500, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    result = write_h264((tmp_path / "variable.mkv", tmp_path / "new.mp4"), FINE)
    assert isinstance(result, Encoded) and result.times == "kept"
    np.testing.assert_allclose(times_of(tmp_path / "new.mp4"), np.array(times) / 1000, atol=2e-5)


def test_a_file_without_times_gets_even_ones_and_says_so(clips_dir: Path, tmp_path: Path) -> None:
    source = clips_dir / "TrumanShow_wave_f_nm_np1_fr_med_26.avi"
    result = write_h264((source, tmp_path / "new.mp4"), Settings())
    assert isinstance(result, Encoded) and (result.frames, result.times) == (48, "even")
    np.testing.assert_allclose(times_of(tmp_path / "new.mp4"), np.arange(48) / 30, atol=2e-5)
    assert probe(tmp_path / "new.mp4").fps_hz == pytest.approx(30, rel=1e-3)


def test_a_full_disk_is_the_copy_s_and_not_the_source_s(tmp_path: Path, small_disk: Path) -> None:
    source = write_video(tmp_path / "a.mp4", height=256, width=256, num_frames=24, options={"crf": "1"})
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 4096))
    result = write_h264((source, small_disk / "b.mp4"), FINE)
    assert str(result) == f"{small_disk}/b.mp4: cannot be written: No space left on device"
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_a_damaged_source_leaves_nothing(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[:2000])
    assert isinstance(write_h264((tmp_path / "cut.mp4", tmp_path / "out" / "cut.mp4"), FINE), DecodeError)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    (root / "a b").mkdir(parents=True)
    write_video(root / "a b" / "one.avi", codec="mpeg4")
    write_video(root / "two.mp4")
    (root / "bad.mp4").write_text("no video")
    (tmp_path / "train.csv").write_text("a b/one.avi 0\ntwo.mp4 1\nbad.mp4 1\nabsent.mp4 0\ntwo.mp4 1\n")
    return root


def arguments(videos: Path, *options: str) -> list[str]:
    folder = videos.parent
    return [
        "reencode",
        "--list",
        str(folder / "train.csv"),
        "--root",
        str(videos),
        "--out",
        str(folder / "new"),
        *options,
    ]


def test_a_list_is_encoded_once(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(arguments(videos)) == 3
    shown = capsys.readouterr()
    assert "left out: bad.mp4: " in shown.err and "left out: absent.mp4: " in shown.err
    assert "3 rows; 2 files left out" in shown.out
    new = tmp_path / "new"
    assert (new / "train.csv").read_text() == "a b/one.mp4 0\ntwo.mp4 1\ntwo.mp4 1\n"
    assert all(video.path.is_file() for video in VideoList().load(str(new / "train.csv"), new))
    stamps = {path: path.stat().st_mtime_ns for path in new.rglob("*.mp4")}
    assert prepare.main(arguments(videos)) == 3
    assert "(2 files were there before)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in new.rglob("*.mp4")} == stamps
    write_video(videos / "two.mp4", num_frames=30)
    write_video(videos / "bad.mp4")
    (videos / "absent.mp4").write_bytes((videos / "bad.mp4").read_bytes())
    assert prepare.main(arguments(videos)) == 0
    assert (new / "a b" / "one.mp4").stat().st_mtime_ns == stamps[new / "a b" / "one.mp4"]
    assert len(read_in_order(new / "two.mp4")) == 30
    assert (new / "train.csv").read_text().count("\n") == 5
    stamp = (new / "two.mp4").stat().st_mtime_ns
    os.utime(videos / "two.mp4", (1, 1))  # as large as before, and another file
    assert prepare.main(arguments(videos)) == 0 and (new / "two.mp4").stat().st_mtime_ns > stamp
    assert prepare.main(arguments(videos, "--keyframe-every", "6")) == 0
    assert probe(new / "a b" / "one.mp4").keys == tuple(range(0, 48, 6))


def test_half_a_line_of_the_journal_costs_no_other(videos: Path) -> None:
    """A full disk leaves it; the next one went on in it, and the third call was refused for a damaged line."""
    assert prepare.main(arguments(videos)) == 3
    journal = videos.parent / "new" / "reencoded.jsonl"
    first, second = journal.read_text().splitlines(keepends=True)
    journal.write_text(first + second[:40])
    for _ in range(2):
        assert prepare.main(arguments(videos)) == 3
    found = journal.read_text().splitlines(keepends=True)
    assert found[0] == first and json.loads(found[1])["target"] == json.loads(second)["target"] and len(found) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on(number: int, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    write_video(root / "0.mp4", num_frames=200, height=240, width=320)
    for index in range(1, 12):
        shutil.copy(root / "0.mp4", root / f"{index}.mp4")
    (tmp_path / "train.csv").write_text("".join(f"{index}.mp4 0\n" for index in range(12)))
    command = [sys.executable, "tools/prepare_data.py", *arguments(root, "--jobs", "2")]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment(),
        start_new_session=True,
        # a shell starts background jobs with SIGINT ignored, and the tests may be one: Ctrl-C is for the foreground
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    journal = tmp_path / "new" / "reencoded.jsonl"
    deadline = time.monotonic() + 600
    while not (journal.exists() and journal.read_text().count("\n") >= 2):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    workers = descendants(process.pid)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    assert process.wait(60) == (130 if number == signal.SIGINT else -signal.SIGKILL)
    before = {json.loads(line)["target"] for line in journal.read_text().splitlines()}
    assert 2 <= len(before) < 12
    while not all(map(is_gone, workers)):  # the killed one's finish what they have at hand
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if number == signal.SIGINT:
        assert not list((tmp_path / "new").rglob(".*.partial"))
    stamps = {name: (tmp_path / "new" / name).stat().st_mtime_ns for name in before}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"12 rows ({len(before)} files were there before)" in done.stdout
    assert {name: (tmp_path / "new" / name).stat().st_mtime_ns for name in before} == stamps
    assert all(len(read_in_order(tmp_path / "new" / f"{index}.mp4")) == 200 for index in range(12))
    assert not list((tmp_path / "new").rglob(".*.partial"))


def test_a_file_that_takes_too_long_leaves_nothing_behind(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = videos.parent / "new"
    new.mkdir()
    (new / ".two.mp4.12345.partial").write_bytes(b"what an ended process had written")
    assert prepare.main(arguments(videos, "--limit-sec", "0.001")) == 3
    assert "took longer than 0.001 s" in capsys.readouterr().err
    assert not list(new.rglob(".*.partial")) and not list(new.rglob("*.mp4"))


@pytest.mark.parametrize(
    ("rows", "options", "complaint"),
    [
        ("two.mp4 0\ntwo.avi 0\n", [], "two.mp4 and two.avi: would both become two.mp4"),
        ("../two.mp4 0\n", [], "leads out of --root"),
        ("/two.mp4 0\n", [], "leads out of --root"),
        ("two.mp4 0\n", ["--out", "{videos}"], "would be written over itself"),
        ("two.mp4 0\n", ["--keyframe-every", "0"], "--keyframe-every 0: allowed: 1 to 1000"),
    ],
)
def test_mistakes_are_one_line(
    rows: str, options: list[str], complaint: str, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos.parent / "train.csv").write_text(rows)
    before = (videos / "two.mp4").read_bytes()
    assert prepare.main(arguments(videos, *(option.format(videos=videos) for option in options))) == 2
    assert complaint in capsys.readouterr().err
    assert (videos / "two.mp4").read_bytes() == before
