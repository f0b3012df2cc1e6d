"""When frames are shown, and clips taken by that: from files, against the ffmpeg command and against what was written."""

import subprocess
from contextlib import closing, suppress
from fractions import Fraction
from itertools import accumulate, chain, repeat
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

from tests.frames import decoders_here
from tests.media import FILMS, STEPS, VP9, picture, write_film, write_video
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.registry import DECODERS, SAMPLERS
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.clip import read_clip
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._probe import forget, probe
from videoadapt.video.samplers.dense import Dense
from videoadapt.video.samplers.segment import Segment
from videoadapt.video.times import ROUNDING_SEC, Times

DECODER = pytest.mark.parametrize("decoder", decoders_here())
VARIABLE = {"vp9_vfr.mkv", "h264_vfr.mp4"}
SHOWN = {  # where stamps are plain, where they come out of order, where only decoding tells, where a cut leaves some
    "h264 closed [b] ä.mp4": 48, "vp9_vfr.mkv": 48, "h264_vfr.mp4": 48, "vp9.webm": 48, "h264_open.mkv": 48, "one_frame.mp4": 1,
    "mpeg4.avi": 48, "h264.avi": 48, "h264.ts": 48, "mpeg2.mpg": 48, "mpeg4.mp4": 48, "h264_edit_list.mp4": 43,
    "mpeg4_not_utf8.avi": 48, "two_streams.mkv": 48,
}  # fmt: skip


@DECODER
@pytest.mark.parametrize("name", SHOWN)
def test_each_frame_is_shown_as_long_as_it_was_written(tmp_path: Path, decoder: str, name: str) -> None:
    assert name in FILMS
    path = write_film(tmp_path, name)
    with open_video(path, decoder) as video:
        until_sec = video.times.until_sec
        assert len(until_sec) == len(video) == SHOWN[name]
        assert until_sec.tolist() == video.times.until_sec.tolist()
    steps = STEPS * 8 if name in VARIABLE else (1,) * 48
    steps = (*steps[: SHOWN[name] - 1], 1)
    assert until_sec == pytest.approx(np.cumsum(steps) / 25, abs=1e-9)


def test_what_stamps_say() -> None:
    """Of three stamps a tenth of a second each: 0, 1 and 3 s, which is 1.5 s a frame."""
    tenth = Fraction(1, 10)
    assert Times.of_stamps([10, 20, 40], 5, tenth, 4.0).until_sec.tolist() == [1, 3, 3.5]
    assert Times.of_stamps([10, 20, 40], 0, tenth, 4.0).until_sec.tolist() == [1, 3, 4.5]
    assert Times.of_stamps([7], 0, tenth, 4.0).until_sec.tolist() == [0.25]
    times = Times.evenly(3, 10)
    assert times.shown_at(np.array([0, 1, 2, 9]), 10).tolist() == [0, 1, 2, 2]
    assert [times.num_frames_at(rate) for rate in (10, 20, 10.1, 0.1)] == [3, 6, 4, 1]
    assert Times(np.array([0.0005])).num_frames_at(25) == 1 and Times(np.array([])).num_frames_at(25) == 0


def test_times_are_the_same_whatever_was_read_before(tmp_path: Path) -> None:
    path = write_film(tmp_path, "h264.ts")
    found = []
    for asked in ([], [3], [47], [40, 2]):
        forget()
        with open_video(path, "pyav") as video:
            video.get(asked)
            found.append(video.times.until_sec.tolist())
            assert (video.get([5])[0] == video.get([5, 6])[0]).all()
    assert found == [found[0]] * 4


def test_real_clips_have_one_time_in_every_decoder(clips_dir: Path) -> None:
    for path in sorted(clips_dir.iterdir()):
        found = []
        for decoder in decoders_here():
            with open_video(path, decoder) as video:
                found.append(video.times.until_sec)
                rate = video.fps_hz
        assert all(np.array_equal(found[0], other) for other in found), path
        with av.open(str(path), metadata_errors="ignore") as file:
            count = sum(1 for _ in file.decode(file.streams.best("video")))
        assert found[0] == pytest.approx(np.arange(1, count + 1) / rate, abs=2 * ROUNDING_SEC), path


@DECODER
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_late_start_counts_from_the_first_picture(tmp_path: Path, decoder: str, suffix: str) -> None:
    path = write_video(tmp_path / f"late.{suffix}", trim_frames=-40, steps=STEPS, num_frames=12, bframes=2)
    with open_video(path, decoder) as video:
        assert video.times.until_sec[:-1] == pytest.approx(np.cumsum((STEPS * 2)[:11]) / 25, abs=ROUNDING_SEC)


@DECODER
@pytest.mark.parametrize(
    ("suffix", "more"),
    [
        ("mp4", {"bframes": 2}),
        ("mkv", {"bframes": 2}),
        ("webm", {"codec": "libvpx-vp9", "options": VP9}),
        ("mp4", {"bframes": 2, "trim_frames": 9}),
        ("mp4", {"bframes": 2, "trim_frames": -20}),
        ("avi", {"codec": "mpeg4"}),
    ],
)
def test_the_frames_are_those_on_ffmpegs_screen(tmp_path: Path, decoder: str, suffix: str, more: dict) -> None:
    path = write_video(tmp_path / f"film.{suffix}", steps=(1,) if suffix == "avi" else STEPS, **more)
    shown = "fps=10:round=up:start_time=0" if more.get("trim_frames", 0) > 0 else "fps=10:round=up"
    command = ["ffmpeg", "-v", "error", "-i", path, "-vf", shown, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(list(map(str, command)), capture_output=True, check=True).stdout
    screen_NHWC = np.frombuffer(raw, np.uint8).reshape(-1, 48, 64, 3).astype(np.int16)
    with open_video(path, decoder) as video:
        times = video.times
        indices = times.shown_at(np.arange(times.num_frames_at(10)), 10)
        ours_NHWC = video.get(indices)
    assert len(set(indices)) > 10
    count = min(len(ours_NHWC), len(screen_NHWC))
    assert count >= len(ours_NHWC) - 1
    assert np.abs(ours_NHWC[:count] - screen_NHWC[:count]).max() <= 2


def write_three(folder: Path, suffix: str, codec: str = "libx264") -> dict[int, Path]:
    """One film of 24 pictures, two seconds long, with each picture once, twice and four times, by the rate."""
    return {12 * n: _write_repeated(folder / f"{12 * n}.{suffix}", codec, n) for n in (1, 2, 4)}


def _write_repeated(path: Path, codec: str, times: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12 * times, options={"crf": "10"} if codec == "libx264" else {})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for index in range(24 * times):
            rgb_HWC = picture(index // times, 48, 64)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC, format="rgb24")))
        container.mux(stream.encode())
    return path


SPECS = {
    "dense": {"name": "dense", "stride_frames": 2},
    "dense, seconds": {"name": "dense", "stride_frames": 2, "stride_sec": 1 / 6},
    "videomae": {"name": "dense", "stride_frames": 2, "window": "videomae"},
    "adaptformer": {"name": "dense", "stride_frames": 2, "window": "adaptformer"},
    "segment": {"name": "segment"},
}


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "libx264")]
)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_film_is_the_same_at_every_rate(tmp_path: Path, suffix: str, codec: str, spec: dict) -> None:
    timed = {} if "stride_sec" in spec else {"fps_hz": 12}
    by_time = SAMPLERS.build({**spec, **timed})
    by_count = SAMPLERS.build({key: value for key, value in spec.items() if key != "stride_sec"})
    clips = 2
    for rate, path in write_three(tmp_path, suffix, codec).items():
        with open_video(path, "pyav") as video:
            shown = [by_time.test_clips(video, 8, clips), *(by_time.train_clip(video, 8, _rng(k)) for k in range(20))]
        counted = [by_count.test_indices(24, 8, clips), *(by_count.train_indices(24, 8, _rng(k)) for k in range(20))]
        for ours, expected in zip(shown, counted, strict=True):
            assert (ours // (rate // 12) == expected).all(), rate


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


class _Untimed:
    """A video that nobody may ask for times."""

    num_frames = 48

    @property
    def times(self) -> Times:
        raise AssertionError("its time stamps were read")


@pytest.mark.parametrize("spec", [spec for spec in SPECS.values() if "stride_sec" not in spec])
def test_counting_frames_reads_no_time_stamp(spec: dict) -> None:
    sampler = SAMPLERS.build(spec)
    assert (sampler.train_clip(_Untimed(), 8, _rng(0)) == sampler.train_indices(48, 8, _rng(0))).all()
    assert (sampler.test_clips(_Untimed(), 8, 2) == sampler.test_indices(48, 8, 2)).all()


@pytest.mark.parametrize("rate", [12.0, 15.0, 24000 / 1001, 25.0, 30000 / 1001, 59.94])
def test_at_its_own_rate_a_film_is_what_counting_gives(rate: float) -> None:
    for num_frames in (1, 2, 7, 29, 30, 100, 301):
        stamps = np.round(np.arange(num_frames) / rate * 1000).astype(int)  # as Matroska has them
        for times in (Times.evenly(num_frames, rate), Times(np.append(stamps[1:], stamps[-1] + 1000 / rate) / 1000)):
            video = type("Video", (), {"times": times, "num_frames": num_frames})()
            ours = Dense(fps_hz=rate).test_clips(video, 8, 4)
            assert (ours == Dense().test_indices(num_frames, 8, 4)).all(), (num_frames, ours)


def test_segments_of_a_variable_rate_are_equally_long() -> None:
    # a second at 2 frames, then one at 30
    steps = chain(repeat(0.5, 2), repeat(1 / 30, 30))
    video = type("Video", (), {"times": Times(np.array(list(accumulate(steps)))), "num_frames": 32})()
    assert Segment(fps_hz=30).test_clips(video, 4, 1)[0].tolist() == [0, 1, 9, 24]
    assert Segment().test_clips(video, 4, 1)[0].tolist() == [4, 12, 20, 28]


def test_one_of_the_two_ways_to_say_a_rate() -> None:
    with pytest.raises(ConfigError, match=r"fps_hz = 12.*stride_sec = 0.25.*set one of them to null"):
        Dense(fps_hz=12.0, stride_sec=0.25)
    with pytest.raises(ConfigError, match=r"stride_sec = 1e-06: allowed: 0.004 or more"):
        Dense(stride_sec=1e-6)
    with pytest.raises(ConfigError, match="fps_hz"):
        Dense(fps_hz=0.0)
    assert Dense(stride_frames=2, stride_sec=0.25).fps_hz == 8 and Dense().fps_hz is None


def test_a_cache_keeps_the_times(tmp_path: Path) -> None:
    path = write_film(tmp_path, "h264_vfr.mp4")
    plain = FrameSource({"name": "decord"})
    kept = FrameSource({"name": "decord"}, cache=str(tmp_path / "cache"), short_side_px=32)
    with closing(plain.open(path)) as video:
        expected, rate = video.times.until_sec.tolist(), video.fps_hz
    for _ in range(2):  # put into the cache, found there
        with closing(kept.open(path)) as video:
            assert video.times.until_sec.tolist() == expected
            assert video.fps_hz == pytest.approx(rate, rel=0.1)


def test_a_decoder_without_times_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    info = probe(path)

    class Blind(DECODERS.get("decord")):  # type: ignore[misc]
        def _find_times(self) -> None:
            return None

    with Blind(path) as video, pytest.raises(DecodeError, match=r"Blind does not know when.*another decoder"):
        _ = video.times
    assert info.times is not None


def test_a_clip_of_a_file_by_time(tmp_path: Path) -> None:
    films = write_three(tmp_path, "mp4")
    for start in (None, 3):
        once, four = (read_clip(films[rate], 4, 2, start=start, fps_hz=12) for rate in (12, 48))
        assert once.equal(read_clip(films[12], 4, 2, start=start))
        assert (once.int() - four.int()).abs().float().mean() < 3
        assert (once.int() - read_clip(films[48], 4, 2, start=start).int()).abs().float().mean() > 10


@pytest.mark.parametrize(("film_hz", "wanted_hz"), [(30, 1), (25, 8), (30, 12), (12, 48)])
def test_frames_extracted_by_ffmpegs_round_up(film_hz: int, wanted_hz: int) -> None:
    """A folder that `ffmpeg -vf fps=N:round=up` filled has the frames of clips by time; plain fps=N has later ones."""
    graph, kept = Graph(), []
    source = graph.add_buffer(width=16, height=16, format=av.VideoFormat("gray"), time_base=Fraction(1, film_hz))
    graph.link_nodes(source, graph.add("fps", f"{wanted_hz}:round=up"), graph.add("buffersink")).configure()
    for number in range(120):
        frame = av.VideoFrame(16, 16, "gray")
        frame.planes[0].update(bytes([number]) * frame.planes[0].buffer_size)
        frame.pts, frame.time_base = number, Fraction(1, film_hz)
        graph.push(frame)
        with suppress(BlockingIOError):
            while True:
                kept.append(bytes(graph.pull().planes[0])[0])
    assert len(kept) > 3
    shown = Times.evenly(120, film_hz).shown_at(np.arange(len(kept)), wanted_hz)
    assert kept == shown.tolist()
