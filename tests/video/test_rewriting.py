"""A film written again with something drawn on it: times, shape and sound are the source's."""

import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.media import STEPS, TRANSPOSED, picture, write_video
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.video.decoders import open_video
from videoadapt.video.rewriting import redraw

Stamps = list[Fraction]


def stamps(path: Path) -> Stamps:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        packets = container.demux(audio=0)
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets if packet.dts is not None]


def film_with_sound(path: Path, codec: str = "aac") -> Path:
    with av.open(str(path), "w") as container:
        pictures, tone = container.add_stream("libx264", rate=25), container.add_stream(codec, rate=44100)
        pictures.height, pictures.width, pictures.pix_fmt = 48, 64, "yuv420p"
        for index in range(50):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture(index, 48, 64), format="rgb24")))
        wave = np.sin(np.arange(2 * 44100) / 20).astype(np.float32)[None]
        for start in range(0, wave.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(wave[:, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(tone.encode(frame))
        for stream in (pictures, tone):
            container.mux(stream.encode())
    return path


def black_corner(frame_HWC: np.ndarray, seconds: float) -> None:
    frame_HWC[:16, :16] = 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_times_and_sound_stay(suffix: str, tmp_path: Path) -> None:
    source, out = film_with_sound(tmp_path / "a.mp4"), tmp_path / f"out{suffix}"
    assert redraw(source, black_corner, out) == 50
    # Matroska counts in milliseconds, and none below 0, where the sound of this film begins
    tolerance, (first, *_), (begin, *_) = Fraction(1, 1000) if suffix == ".mkv" else 0, stamps(source), stamps(out)
    assert suffix == ".mkv" or first == begin
    for one, other in zip(stamps(source), stamps(out), strict=True):
        assert abs((one - first) - (other - begin)) <= tolerance
    for (start, content), (other, same) in zip(sound(source), sound(out), strict=True):
        assert content == same and abs((start - first) - (other - begin)) <= tolerance
    with open_video(source) as before, open_video(out) as after:
        assert after[7][:12, :12].max() < 10 and before[7][:12, :12].max() > 100
        # drawn on nowhere else: two encodings of one picture, and two matrices between
        assert np.abs(after[7][20:].astype(int) - before[7][20:]).mean() < 6


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vfr.mp4", {"steps": STEPS}),
        ("vfr.mkv", {"steps": STEPS, "bframes": 2}),
        ("b.avi", {"codec": "mpeg4", "bframes": 2}),
        ("cut.mp4", {"trim_frames": 5, "bframes": 2}),
    ],
)
def test_whatever_the_times(name: str, settings: dict[str, object], tmp_path: Path) -> None:
    source = write_video(tmp_path / name, **settings)
    seen: list[float] = []
    redraw(source, lambda frame, seconds: seen.append(seconds), tmp_path / "out.mp4")
    with open_video(source, "pyav") as video, open_video(tmp_path / "out.mp4", "pyav") as after:
        starts = [0.0, *video.times.until_sec[:-1]]
        assert seen == pytest.approx(starts, abs=1e-3) and len(after) == len(video)
        # the muxer of mp4 does not always keep how long the very last frame stays
        assert after.times.until_sec[:-1] == pytest.approx(video.times.until_sec[:-1], abs=1e-3)


@pytest.mark.parametrize("settings", [{"counterclockwise": 90}, {"matrix": TRANSPOSED}, {"height": 47, "width": 61}])
def test_frames_are_upright_and_even(settings: dict[str, object], tmp_path: Path) -> None:
    odd = "height" in settings
    source = write_video(tmp_path / "a.mp4", **settings, pix_fmt="yuv444p" if odd else "yuv420p")
    shapes: set[Sequence[int]] = set()
    redraw(source, lambda frame, seconds: shapes.add(frame.shape), tmp_path / "out.mp4", least_side_px=90)
    assert shapes == {(94, 122, 3) if odd else (128, 96, 3)}
    with open_video(source) as before, open_video(tmp_path / "out.mp4") as after:
        assert (after.height, after.width) == ((94, 122) if odd else (128, 96)) and after.rotation == 0
        larger = before[9].repeat(2, 0).repeat(2, 1).astype(int)
        assert np.abs(after[9] - larger).mean() < 8


def test_a_long_side_is_as_long_as_h264_holds(tmp_path: Path) -> None:
    """Such films were called damaged: x264 refuses more pixels."""
    source, out = write_video(tmp_path / "a.mp4", num_frames=2, height=16, width=4000), tmp_path / "out.mp4"
    shapes: set[Sequence[int]] = set()
    assert redraw(source, lambda frame, seconds: shapes.add(frame.shape), out, least_side_px=240) == 2
    assert shapes == {(64, 16_000, 3)}
    larger = write_video(tmp_path / "b.mkv", num_frames=2, codec="ffv1", height=16, width=16_400)
    with pytest.raises(
        ConfigError, match=r"b\.mkv: is 16400 x 16 pixels, and H\.264 is written with 16384 a side at most"
    ):
        redraw(larger, black_corner, out, least_side_px=240)
    assert redraw(larger, black_corner, gif=tmp_path / "out.gif", least_side_px=240) == 2


def test_colours_survive(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", height=64, width=64, options={"crf": "1"}, pix_fmt="yuv444p")
    redraw(source, lambda frame, seconds: frame.__setitem__(..., (200, 40, 90)), tmp_path / "out.mp4")
    with open_video(tmp_path / "out.mp4") as after:
        assert np.abs(after[5].astype(int) - (200, 40, 90)).max() <= 4


def test_a_small_animation(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", height=48, width=640, num_frames=50)
    redraw(source, black_corner, tmp_path / "out.mkv", tmp_path / "out.gif")
    with Image.open(tmp_path / "out.gif") as gif:
        assert gif.size == (480, 36) and gif.n_frames == 20
        lengths = []
        for number in range(gif.n_frames):
            gif.seek(number)
            lengths.append(gif.info["duration"])
        assert sum(lengths) == pytest.approx(2000, abs=100)
        assert np.asarray(gif.convert("RGB"))[:10, :10].max() < 10
    assert len(stamps(tmp_path / "out.mkv")) == 50


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    source = film_with_sound(tmp_path / "a.avi", "pcm_mulaw")
    with pytest.raises(ConfigError, match=r"a\.avi: mp4 does not hold its sound \(pcm_mulaw\); write to a .*\.mov"):
        redraw(source, black_corner, tmp_path / "out.mp4")
    redraw(source, black_corner, tmp_path / "out.mov")
    assert [content for _, content in sound(tmp_path / "out.mov")] == [content for _, content in sound(source)]
    with pytest.raises(ConfigError, match="is the film that is read"):
        redraw(source, black_corner, source)
    with pytest.raises(ConfigError, match=r"allowed: \.mp4, \.m4v, \.mov, \.mkv"):
        redraw(source, black_corner, tmp_path / "out.webm")
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    (tmp_path / "old.mp4").write_bytes(b"old")
    with pytest.raises(DecodeError, match=r"x\.mp4"):
        redraw(tmp_path / "x.mp4", black_corner, tmp_path / "old.mp4")
    assert (tmp_path / "old.mp4").read_bytes() == b"old" and not list(tmp_path.glob("*.partial"))


FULL = """
import shutil, sys
from pathlib import Path
from videoadapt.video.rewriting import redraw
source, disk = map(Path, sys.argv[1:])
for free_kib in (0, 4, 12, 40):
    with open(disk / "ballast", "wb") as ballast:
        ballast.write(bytes(shutil.disk_usage(disk).free - 1024 * free_kib))
    for suffix in ("mp4", "mkv", "gif"):
        target = disk / f"b.{suffix}"
        try:
            redraw(source, lambda frame, seconds: None, *((None, target) if suffix == "gif" else (target,)))
        except OSError as error:
            print(Path(error.filename).name, error.strerror)
    assert [path.name for path in disk.iterdir()] == ["ballast"]
"""


def test_a_full_disk_is_the_target_s(tmp_path: Path, small_disk: Path) -> None:
    """The source was blamed; and FFmpeg ends the process where something is written after a header that was not."""
    source = write_video(tmp_path / "a.mp4", num_frames=100, height=240, width=320)
    done = subprocess.run([sys.executable, "-c", FULL, source, small_disk], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"b.{suffix} No space left on device" for suffix in ("mp4", "mkv", "gif")] * 4
