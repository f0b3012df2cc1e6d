"""Valid files that libraries show in different ways are one picture, that of the `ffmpeg` command; no video is one line."""

import os
import tarfile
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from PIL import Image

from tests.frames import FILE_DECODERS, assert_same, read_in_order, require_decoder, shown_by_ffmpeg
from tests.media import picture, with_grain, write_as_old_x264, write_halves, write_video
from videoadapt.errors import DecodeError
from videoadapt.preparing.inspection import inspect_file
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._probe import probe

EIGHT = {  # display matrices: a, b, c, d
    "as it is": (1, 0, 0, 1),
    "quarter": (0, 1, -1, 0),
    "half": (-1, 0, 0, -1),
    "three quarters": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed and turned": (0, -1, -1, 0),
}
ODD = {
    "twice as wide": (2, 0, 0, 1),
    "mirrored, twice as wide": (-2, 0, 0, 1),
    "a quarter, twice as high": (0, 2, -1, 0),
    "half a degree": (1, 0.008, -0.008, 1),
    "mirrored but for half a degree": (-1, 0.005, 0.005, 1),
    "no angle": (0, 0, 0, -1),
}
NUM_MATRICES = 18  # codes of H.273, of which some are reserved


@pytest.fixture(params=FILE_DECODERS)
def decoder(request: pytest.FixtureRequest) -> str:
    require_decoder(request.param)
    return str(request.param)


def frames_of(path: Path, decoder: str) -> np.ndarray:
    with open_video(path, {"name": decoder}) as opened:
        return opened.get(range(opened.num_frames))


def filtered(source: Path, target: Path, name: str) -> Path:
    """Copy an H.264 film through a bitstream filter, which changes headers and no picture."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        chain = BitStreamFilterContext(name, old.streams.video[0], stream)
        for packet in (*(packet for packet in old.demux(video=0) if packet.size), None):
            for changed in chain.filter(packet):
                changed.stream = stream
                new.mux(changed)
    return target


# ---- how a picture lies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*EIGHT, *ODD])
def test_all_ways_to_lay_a_picture(tmp_path: Path, decoder: str, name: str) -> None:
    matrix = (EIGHT | ODD)[name]
    path = write_video(tmp_path / "a.mp4", matrix=matrix, num_frames=4)
    assert_same(frames_of(path, decoder), shown_by_ffmpeg(path))


def test_a_decoder_says_how_its_pictures_lay(tmp_path: Path, decoder: str) -> None:
    found = {}
    for name, matrix in EIGHT.items():
        path = tmp_path / f"{name}.mp4"  # of one size and one tick of the clock, they would be one file under one name
        with open_video(write_video(path, matrix=matrix, num_frames=2), {"name": decoder}) as opened:
            found[name] = opened.rotation, opened.mirrored
    turned = {"as it is": 0, "quarter": 90, "half": 180, "three quarters": 270}
    mirrored = {"mirrored": 0, "upside down": 180, "transposed": 90, "transposed and turned": 270}
    assert found == {k: (v, False) for k, v in turned.items()} | {k: (v, True) for k, v in mirrored.items()}


def test_a_rotation_that_only_the_stream_states(tmp_path: Path, decoder: str) -> None:
    """An SEI message of the first picture counts for the film, whatever the library makes of it."""
    plain = write_video(tmp_path / "plain.mp4", num_frames=4)
    path = filtered(plain, tmp_path / "sei.mp4", "h264_metadata=display_orientation=insert:rotate=180")
    expected = np.rot90(frames_of(plain, decoder), 2, axes=(1, 2))
    assert_same(frames_of(path, decoder), np.ascontiguousarray(expected))


@pytest.mark.parametrize("exif_orientation", range(1, 9))
def test_a_picture_laid_by_exif(tmp_path: Path, decoder: str, exif_orientation: int) -> None:
    image = Image.fromarray(picture(0, 48, 64))
    exif = image.getexif()
    exif[0x0112] = exif_orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert_same(frames_of(tmp_path / "a.jpg", decoder), shown_by_ffmpeg(tmp_path / "a.jpg"))


# ---- colours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full_range", [0, 1])
def test_every_colour_matrix(tmp_path: Path, decoder: str, full_range: int) -> None:
    plain = write_video(tmp_path / "plain.mp4", num_frames=2)
    kinds = set()
    for code in range(NUM_MATRICES):
        options = f"matrix_coefficients={code}:video_full_range_flag={full_range}"
        path = filtered(plain, tmp_path / f"{code}.mp4", f"h264_metadata={options}")
        assert_same(shown := frames_of(path, decoder), shown_by_ffmpeg(path))
        kinds.add(shown.tobytes())
    assert len(kinds) == 5  # 601, 709, FCC, 240M, 2020


def test_parameters_on_the_way_read_backwards(tmp_path: Path, decoder: str) -> None:
    """What the second half states would otherwise colour a first half that states nothing."""
    path = write_halves(tmp_path / "a.mp4", codec="libx264", halves=[{}, {"color_range": 2, "colorspace": 1}])
    with open_video(path, {"name": decoder}) as opened:
        again = np.concatenate([opened.get([index]) for index in (40, 3, 30, 8)])
        assert np.array_equal(opened.get([40, 3, 30, 8]), again)
    assert_same(again, shown_by_ffmpeg(path)[[40, 3, 30, 8]])


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("libx264", "mkv"), ("libx265", "mp4")])
def test_film_grain_is_left_out(tmp_path: Path, decoder: str, codec: str, suffix: str) -> None:
    """FFmpeg 4 adds none, and 5 other noise than 7 and 8."""
    options = {"x265-params": "log-level=none:keyint=12"} if codec == "libx265" else {}
    plain = write_video(tmp_path / f"plain.{suffix}", codec=codec, options=options, bframes=2, height=96, width=128)
    path = with_grain(plain, tmp_path / f"grained.{suffix}")
    assert not np.array_equal(read_in_order(path), read_in_order(plain))  # FFmpeg adds it
    expected = frames_of(plain, decoder)
    assert np.array_equal(frames_of(path, decoder), expected)
    with open_video(path, {"name": decoder}) as opened:
        assert np.array_equal(opened.get([40, 3, 30]), expected[[40, 3, 30]])


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "rgb24"])
def test_full_chroma_of_an_old_x264(tmp_path: Path, decoder: str, pix_fmt: str) -> None:
    """Only the first packet names the version, so that every picture behind a seek would be another one.

    The name is wrong here, and FFmpeg conceals errors, in one thread the same each time.
    """
    path = write_as_old_x264(tmp_path / "a.mp4", pix_fmt)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        expected = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])[[30, 13, 47]]
    for _ in range(2):  # the second time the file is known
        with open_video(path, {"name": decoder}) as opened:
            assert_same(opened.get([30, 13, 47]), expected)


# ---- shape and rate -------------------------------------------------------------------------------------------------


def test_pixels_are_taken_for_square(tmp_path: Path, decoder: str) -> None:
    path = write_video(tmp_path / "a.mp4", pixel_aspect=Fraction(64, 45), num_frames=3)
    assert frames_of(path, decoder).shape == (3, 48, 64, 3)
    assert probe(path).pixel_aspect == Fraction(64, 45)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_one_mean_rate_in_every_container(tmp_path: Path, codec: str) -> None:
    steps = [1, 1, 2, 1, 1, 12, 1, 1, 1, 7]  # of 20 ms
    for suffix in ("mp4", "mov", "mkv"):
        path = write_video(tmp_path / f"a.{suffix}", codec=codec, fps_hz=50, steps=steps, num_frames=100)
        found = inspect_file(path, {"name": "decord"})
        assert not isinstance(found, DecodeError)
        assert found.fps_hz == pytest.approx(99 / ((10 * sum(steps) - 7) * 0.02), rel=1e-12), suffix
        if codec == "libx264":
            assert probe(path).fps_hz == found.fps_hz


@pytest.mark.parametrize("fps_hz", [25, Fraction(30000, 1001), Fraction(24000, 1001)])
def test_a_constant_rate_is_the_stated_one(tmp_path: Path, fps_hz: Fraction) -> None:
    for suffix in ("mp4", "mkv", "avi", "ts"):
        path = write_video(tmp_path / f"a.{suffix}", fps_hz=fps_hz, num_frames=100, bframes=2)
        found = inspect_file(path, {"name": "pyav"})
        assert not isinstance(found, DecodeError) and found.fps_hz == float(fps_hz), suffix


@pytest.mark.parametrize(("height", "rate"), [(576, Fraction(25)), (480, Fraction(30000, 1001))])
def test_the_rate_of_a_bare_dv_file(tmp_path: Path, height: int, rate: Fraction) -> None:
    pix_fmt = "yuv420p" if height == 576 else "yuv411p"
    path = tmp_path / "a.dv"
    write_video(path, codec="dvvideo", width=720, height=height, fps_hz=rate, pix_fmt=pix_fmt, num_frames=5)
    with open_video(path) as video:
        assert len(video) == 5 and video.fps_hz == float(rate)
        assert video.times.length_sec == pytest.approx(5 / rate)


def test_a_rate_of_one_frame_a_tick_stays_the_stated_one(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p", fps_hz=25, num_frames=5)
    assert probe(path).time_base == Fraction(1, 25) and probe(path).fps_hz == 25


@pytest.mark.parametrize("height", [2, 48])
def test_narrow_films_of_every_even_width(tmp_path: Path, decoder: str, height: int) -> None:
    for width in range(2, 82, 2):
        path = write_video(tmp_path / f"{width}.mp4", width=width, height=height, num_frames=3)
        assert frames_of(path, decoder).shape == (3, height, width, 3)


# ---- no video -------------------------------------------------------------------------------------------------------


def animated_webp(path: Path) -> None:
    first, *others = (Image.fromarray(picture(index, 48, 64)) for index in range(4))
    first.save(path, format="webp", save_all=True, append_images=others)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "a.py")


def encrypted(path: Path) -> None:
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "ab" * 16, "encryption_kid": "cd" * 16}
    write_video(path, container_options=key)


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a.webp": (animated_webp, "is an animated WebP, which FFmpeg cannot read; convert it"),
    "a.mp4": (animated_webp, "is an animated WebP"),
    "a.mng": (lambda path: path.write_bytes(b"\x8aMNG\r\n\x1a\n" + bytes(99)), "is an MNG animation"),
    "lfs.mp4": (lambda path: path.write_text("version https://git-lfs/v1\noid sha256:0\n"), "is a pointer of Git LFS"),
    "page.mp4": (lambda path: path.write_text("\n<!DOCTYPE html><html>no</html>"), "is a web page"),
    "zip.mp4": (zipped, r"is an archive \(zip\); unpack it"),
    "tar.mp4": (tarred, r"is an archive \(tar\)"),
    "zero.mp4": (lambda path: path.write_bytes(bytes(99_999)), "begins with 4096 zero bytes"),
    "encrypted.mp4": (encrypted, "is encrypted; decrypt it first"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_video_is_called_what_it_is(tmp_path: Path, decoder: str, name: str) -> None:
    write, message = OTHERS[name]
    write(tmp_path / name)
    with pytest.raises(DecodeError, match=rf"{name}: {message}"):
        open_video(tmp_path / name, {"name": decoder})


UNKNOWN = {"mp4": (b"avc1", b"zz9q"), "mkv": (b"V_MPEG4/ISO/AVC", b"V_UNKNOWN/CODEC"), "avi": (b"H264", b"zz9q")}


@pytest.mark.parametrize("suffix", UNKNOWN)
def test_a_codec_that_ffmpeg_does_not_know(tmp_path: Path, decoder: str, suffix: str) -> None:
    path = write_video(tmp_path / f"a.{suffix}", num_frames=4)
    known, unknown = UNKNOWN[suffix]
    assert known in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(known, unknown))
    with pytest.raises(DecodeError, match=rf"a.{suffix}: FFmpeg has no decoder for its video; convert it"):
        open_video(path, {"name": decoder})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_a_pipe_or_a_device_is_not_opened(tmp_path: Path, decoder: str) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", tmp_path / "link.mp4", Path("/dev/zero")):
        with pytest.raises(DecodeError, match=f"{path}: is no regular file"):
            open_video(path, {"name": decoder})
        found = inspect_file(path, {"name": decoder})
        assert isinstance(found, DecodeError) and "is no regular file" in str(found)
