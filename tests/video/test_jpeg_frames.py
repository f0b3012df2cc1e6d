"""Frames seen through JPEG are the same from the cache and without it, near the video's, and take a fraction of its room."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import media
from tests.frames import PYAV, frames, source
from tests.media import write_video
from tests.toy_runs import assert_same_run, run, toy_config, write_config
from videoadapt.errors import DecodeError
from videoadapt.inference.videos import FramesInMemory
from videoadapt.video.cache import folder as cache_place
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.decoders import open_video
from videoadapt.video.frames import from_jpeg, to_jpeg

RAW_BYTES = 48 * 48 * 64 * 3  # of the frames of `write_video`


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for frames, left as at the end of a process."""
    yield tmp_path / "frames"
    cache_place.leave_all()


def entries(place: Path) -> list[Path]:
    """The films kept as JPEG."""
    return sorted(place.glob("*/*.jpegs"))


def counted(place: Path) -> int:
    return int((place / ".bytes").read_text())


def decoded(path: Path) -> np.ndarray:
    with open_video(path, PYAV) as decoder:
        return decoder.get(range(decoder.num_frames))


def through_jpeg(frames_NHWC: np.ndarray, quality: int) -> np.ndarray:
    """The same by Pillow alone, with colour at every pixel."""

    def seen(frame_HWC: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(frame_HWC).save(file, "JPEG", quality=quality, subsampling="4:4:4")
        return np.asarray(Image.open(file))

    return np.stack([seen(frame_HWC) for frame_HWC in frames_NHWC])


def test_frames_are_the_same_from_everywhere(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    video_NHWC = decoded(path)
    truth = through_jpeg(video_NHWC, 90)
    assert not np.array_equal(truth, video_NHWC)
    kept = source(place, jpeg_quality=90)
    for _ in range(2):
        assert np.array_equal(frames(kept, path, 5, 40, 5, 0), truth[[5, 40, 5, 0]])
    assert len(entries(place)) == 1
    full = source(tmp_path / "full", gigabytes=1e-9, jpeg_quality=90)
    uncached = FrameSource(PYAV, jpeg_quality=90)
    for made in (full, uncached):
        assert np.array_equal(frames(made, path), truth)
    with closing(uncached.open(FramesInMemory(video_NHWC))) as in_memory:
        assert np.array_equal(in_memory.get(range(48)), truth) and np.array_equal(video_NHWC, decoded(path))
    with closing(kept.open(path)) as film, pytest.raises(DecodeError, match=r"a\.mp4: no frame 48; allowed: 0 to 47"):
        film.get([48])


def test_smaller_frames_are_made_before_they_are_compressed(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", height=96, width=128)
    small = frames(FrameSource(PYAV, short_side_px=48), path)
    for made in (
        source(place, short_side_px=48, jpeg_quality=80),
        source(Path("off"), short_side_px=48, jpeg_quality=80),
    ):
        assert np.array_equal(frames(made, path), through_jpeg(small, 80))


def test_each_quality_has_its_own_entry_and_is_counted(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    errors, sizes = [], []
    for quality in (60, 90, 100):
        before = set(entries(place))
        got = frames(source(place, jpeg_quality=quality), path)
        (entry,) = set(entries(place)) - before
        errors.append(np.abs(got.astype(int) - decoded(path)).mean())
        sizes.append(entry.stat().st_size)
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.5
    assert sizes[0] < sizes[1] < sizes[2] < RAW_BYTES and sizes[1] < RAW_BYTES / 3
    assert counted(place) == sum(sizes)
    frames(source(place), path)
    raw = [entry.stat().st_size for entry in place.glob("*/*.npy")]
    assert len(raw) == 1 and counted(place) == sum(sizes) + raw[0]
    cache_place.leave_all()
    source(place)  # the next run counts what is there
    assert counted(place) == sum(sizes) + raw[0]


def with_a_bit_of_a_frame_turned(whole: bytes) -> bytes:
    return whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]


def with_a_bit_of_a_record_turned(whole: bytes) -> bytes:
    return whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:]


def with_a_bit_of_the_header_turned(whole: bytes) -> bytes:
    return whole[:32] + bytes([whole[32] ^ 1]) + whole[33:]


def with_many_frames(whole: bytes) -> bytes:
    return whole[:26] + b"\xff" * 8 + whole[34:]


def of_the_raw_kind(whole: bytes) -> bytes:
    return b"\x93NUMPY" + whole[6:]


def cut_short(whole: bytes) -> bytes:
    return whole[:100]


def emptied(whole: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    "damage",
    [
        with_a_bit_of_a_frame_turned,
        with_a_bit_of_a_record_turned,
        with_a_bit_of_the_header_turned,
        with_many_frames,
        of_the_raw_kind,
        cut_short,
        emptied,
    ],
)
def test_a_damaged_entry_is_said_once_and_made_anew(
    damage: Callable[[bytes], bytes], place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "a.mp4")
    made = source(place, jpeg_quality=90)
    truth = frames(made, path)
    (entry,) = entries(place)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    cache_place.leave_all()  # the next run counts it as it is
    made = source(place, jpeg_quality=90)
    for _ in range(3):
        assert np.array_equal(frames(made, path, 0, 7, 47), truth[[0, 7, 47]])
    assert len(caplog.records) == 1 and str(entry) in caplog.text and "anew" in caplog.text
    assert entry.read_bytes() == whole and counted(place) == len(whole)


def test_an_entry_cut_while_open_gives_way_to_the_video(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    made = source(place, jpeg_quality=90)
    truth = frames(made, path)
    (entry,) = entries(place)
    with closing(made.open(path)) as film:
        os.truncate(entry, entry.stat().st_size // 2)
        assert np.array_equal(film.get([0, 40]), truth[[0, 40]])


def test_noise_that_jpeg_makes_no_smaller_is_not_kept(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (48, 64, 3), np.uint8) * 255
    assert len(to_jpeg(noise, 100)) > noise.nbytes + 700 and from_jpeg(to_jpeg(noise, 100)).shape == noise.shape
    monkeypatch.setattr(media, "picture", lambda *_: noise)
    path = write_video(tmp_path / "noise.mp4", codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"})
    loud = source(place, jpeg_quality=100)
    for _ in range(2):
        assert np.array_equal(frames(loud, path), through_jpeg(decoded(path), 100))
    assert not entries(place) and counted(place) == 0 and not list(place.rglob("*.partial"))


def test_real_frames_stay_near_and_take_a_fifth(clips_dir: Path, place: Path) -> None:
    path = clips_dir / "SOX5yA1l24A.mp4"
    plain, made = source(Path("off"), short_side_px=256), source(place, short_side_px=256, jpeg_quality=95)
    away = np.abs(frames(made, path, 0, 100, 200).astype(int) - frames(plain, path, 0, 100, 200))
    (entry,) = entries(place)
    with closing(plain.open(path)) as film:
        raw_bytes = film.num_frames * film.height * film.width * 3
    assert away.mean() < 1.5 and away.max() < 30 and entry.stat().st_size < raw_bytes / 5


@pytest.mark.slow
def test_a_run_is_the_same_with_and_without_the_cache(clips: Path, tmp_path: Path) -> None:
    place = tmp_path / "frames"
    for name, overrides in {"plain": [], "cached": [f"data.cache={place}"]}.items():
        config = write_config(tmp_path / f"{name}.yaml", toy_config(tmp_path / name, clips))
        run(config, "data.jpeg_quality=90", *overrides)
    assert_same_run(tmp_path / "plain", tmp_path / "cached")
    assert len(entries(place)) == 8 * (6 + 2)
