"""Every decoder gives, for every index, the frame that PyAV gives when it reads the file in order."""

import logging
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media import write_video
from videoadapt.decoders import _base, pyav
from videoadapt.decoders._base import CannotRead, open_video
from videoadapt.decoders._probe import probe
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.registry import DECODERS

# Grey levels by which one pixel may differ. Measured: 0 for both decoders on all these files, H.264, HEVC, VP9, mpeg4
# and AV1; the room is for a swscale that rounds otherwise on another processor.
TOLERANCE = 2

REAL = [  # name, frames that decode, degrees clockwise, whether seeking is exact
    ("RATRACE_wave_f_nm_np1_fr_goo_37.avi", 72, False),
    ("SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi", 74, False),
    ("TrumanShow_wave_f_nm_np1_fr_med_26.avi", 48, False),
    ("hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi", 83, False),
    ("v_SoccerJuggling_g23_c01.avi", 240, False),
    ("v_SoccerJuggling_g24_c01.avi", 251, False),
    ("R6llTwEh07w.mp4", 303, True),
    ("SOX5yA1l24A.mp4", 332, True),
    ("WUzgd7C1pWA.mp4", 327, True),
    ("arm_wrestling.mp4", 280, True),
    ("flipping_a_pancake.mkv", 310, True),
    ("nasa_13013.mp4", 390, True),
    ("testsrc2_h265.mp4", 60, True),
]

X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0:open-gop="
VP9 = {"deadline": "realtime", "cpu-used": "8"}
GENERATED = {  # name: what to write, whether seeking is exact
    "h264 closed [b] ä.mp4": ({"bframes": 3}, True),
    "h264_every_frame_key.mov": ({"gop": 1, "bframes": 2}, True),
    "h264_short_groups.mp4": ({"gop": 2, "bframes": 2}, True),
    "h264.mkv": ({"bframes": 3}, True),
    "h264_open.mp4": ({"bframes": 3, "options": {"x264-params": "open-gop=1"}}, False),
    "h264_open.mkv": ({"bframes": 3, "options": {"x264-params": "open-gop=1"}}, False),
    "h264_intra_refresh.mp4": ({"options": {"x264-params": "intra-refresh=1:bframes=0"}}, False),
    "h264.avi": ({"bframes": 3}, False),
    "h264.ts": ({"bframes": 3}, False),
    "h264_edit_list.mp4": ({"bframes": 2, "trim_frames": 5}, False),
    "h264_bt709.mp4": ({"options": {"x264-params": "colormatrix=bt709"}}, True),
    "h264_full_range.mp4": ({"pix_fmt": "yuvj420p"}, True),
    "h264_10bit.mp4": ({"pix_fmt": "yuv420p10le"}, True),
    "h264_444_odd.mp4": ({"pix_fmt": "yuv444p", "height": 47, "width": 61}, True),
    "one_frame.mp4": ({"num_frames": 1}, True),
    "narrow_48.mp4": ({"height": 64, "width": 48}, True),
    "narrow_72.mp4": ({"height": 64, "width": 72}, True),
    "rotated_90.mp4": ({"counterclockwise": 90, "bframes": 2}, True),
    "rotated_180.mp4": ({"counterclockwise": 180}, True),
    "rotated_270.mp4": ({"counterclockwise": 270}, True),
    "hevc_closed.mp4": ({"codec": "libx265", "options": {"x265-params": X265 + "0"}}, True),
    "hevc_open.mp4": ({"codec": "libx265", "options": {"x265-params": X265 + "1"}}, False),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": VP9}, True),
    "vp9_odd.webm": ({"codec": "libvpx-vp9", "options": VP9, "height": 47, "width": 61}, True),
    "mpeg4.avi": ({"codec": "mpeg4", "bframes": 2}, False),
    "mpeg4.mp4": ({"codec": "mpeg4", "bframes": 2}, False),
    "mpeg2.mpg": ({"codec": "mpeg2video", "bframes": 2}, False),
    "av1.mp4": ({"codec": "libsvtav1", "height": 64, "options": {"preset": "12"}}, False),
}
FILES = [name for name, *_ in REAL] + list(GENERATED)
SEEKABLE = {name: seekable for name, _, seekable in REAL} | {name: exact for name, (_, exact) in GENERATED.items()}


def write_generated(folder: Path, name: str) -> Path:
    settings, _ = GENERATED[name]
    try:
        av.codec.Codec(settings.get("codec", "libx264"), "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this PyAV has no encoder {settings['codec']}")
    return write_video(folder / name, **settings)


def read_in_order(path: Path) -> np.ndarray:
    """The reference, on its own feet: FFmpeg's best video stream from the first frame to the last, then upright."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frames = [
            np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            for frame in container.decode(container.streams.best("video"))
        ]
    return np.stack(frames)


@pytest.fixture(scope="module", params=FILES)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    if request.param in GENERATED:
        path = write_generated(tmp_path_factory.mktemp("films"), request.param)
    else:
        path = request.getfixturevalue("clips_dir") / request.param
    return path, read_in_order(path)


@pytest.fixture(params=DECODERS.names())
def reader(request: pytest.FixtureRequest) -> Callable[[Path], _base.Decoder]:
    return lambda path: open_video(path, {"name": request.param})


def assert_same(frames_NHWC: np.ndarray, expected_NHWC: np.ndarray) -> None:
    assert frames_NHWC.dtype == np.uint8 and frames_NHWC.flags.c_contiguous
    assert frames_NHWC.shape == expected_NHWC.shape
    for frame_HWC, expected_HWC in zip(frames_NHWC, expected_NHWC, strict=True):
        if not np.array_equal(frame_HWC, expected_HWC):
            assert np.abs(frame_HWC.astype(np.int16) - expected_HWC).max() <= TOLERANCE


def test_all_frames_in_order(film, reader):
    path, reference = film
    with reader(path) as decoder:
        assert decoder.num_frames == len(reference)
        assert (decoder.height, decoder.width) == reference.shape[1:3]
        for start in range(0, len(reference), 64):
            stop = min(start + 64, len(reference))
            assert_same(decoder.get(range(start, stop)), reference[start:stop])


def test_training_clips_at_random_starts_with_a_fresh_reader(film, reader):
    path, reference = film
    for seed in range(3):
        with reader(path) as decoder:
            start = np.random.default_rng(seed).integers(0, max(1, len(reference) - 28))
            indices = np.minimum(start + 4 * np.arange(8), len(reference) - 1)
            assert_same(decoder.get(indices), reference[indices])


def test_any_order_repeated_and_the_last_frame(film, reader):
    path, reference = film
    rng = np.random.default_rng(7)
    with reader(path) as decoder:
        for _ in range(2):
            indices = rng.integers(0, len(reference), 6)
            assert_same(decoder.get(indices), reference[indices])
        assert_same(decoder.get([len(reference) - 1] * 2), reference[[-1, -1]])
        assert_same(decoder.get([0]), reference[:1])


def test_what_seeking_is_allowed_on(film):
    path, _ = film
    assert probe(path).seekable == SEEKABLE[path.name]


@pytest.mark.parametrize(("name", "num_frames"), [(name, count) for name, count, _ in REAL])
def test_counts_of_the_real_clips(clips_dir, reader, name, num_frames):
    with reader(clips_dir / name) as decoder:
        assert decoder.num_frames == num_frames


@pytest.fixture(scope="module")
def two_kinds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One file to seek in and one to read in order."""
    folder = tmp_path_factory.mktemp("kinds")
    return [write_video(folder / "seek.mp4", bframes=2), write_video(folder / "in_order.avi", codec="mpeg4", bframes=2)]


@pytest.mark.parametrize("bad", [[48], [0, -1], [3, 1000]])
def test_an_index_out_of_range_is_an_error_that_names_file_and_range(two_kinds, reader, bad):
    for path in two_kinds:
        with reader(path) as decoder, pytest.raises(DecodeError, match=rf"{path.name}.*allowed: 0 to 47"):
            decoder.get(bad)


def test_indices_are_a_flat_list_of_integers(two_kinds, reader):
    with reader(two_kinds[0]) as decoder:
        assert decoder.get([]).shape == (0, 48, 64, 3)
        for wrong in ([1.0, 2.0], [[1, 2]]):
            with pytest.raises(TypeError, match="flat list of integers"):
                decoder.get(wrong)


def test_rate_size_and_rotation(tmp_path, reader):
    for counterclockwise, clockwise, size in [(90, 270, (64, 48)), (180, 180, (48, 64)), (270, 90, (64, 48))]:
        path = write_video(tmp_path / "film.mp4", counterclockwise=counterclockwise, fps_hz=30, num_frames=3)
        with reader(path) as decoder:
            assert (decoder.rotation, decoder.fps_hz) == (clockwise, 30.0)
            assert (decoder.height, decoder.width) == size


def test_a_rotation_that_is_no_quarter_turn_is_refused(tmp_path, reader):
    with pytest.raises(DecodeError, match="45 degrees; allowed: multiples of 90"):
        reader(write_video(tmp_path / "tilted.mp4", counterclockwise=45, num_frames=3))


def test_no_threads_is_refused(two_kinds):
    for name in DECODERS.names():
        with pytest.raises(ConfigError, match="threads = 0; allowed: 1 or more"):
            open_video(two_kinds[0], {"name": name, "threads": 0})


# ---- reading no more than needed ------------------------------------------------------------------------------------


def test_a_sorted_request_decodes_no_stretch_twice_and_skips_groups(two_kinds, monkeypatch):
    decoded = []
    original = pyav._SeekingReader._decode

    def counting(self):
        for index, frame in original(self):
            decoded.append(index)
            yield index, frame

    monkeypatch.setattr(pyav._SeekingReader, "_decode", counting)
    with open_video(two_kinds[0], {"name": "pyav"}) as decoder:  # key frames 0, 12, 24, 36
        decoder.get([1, 5, 13, 14, 24, 40])
    assert decoded == [*range(6), 12, 13, 14, 24, *range(36, 41)]


def test_frames_within_the_memory_budget_are_decoded_once(two_kinds, monkeypatch):
    passes = []
    original = pyav._InOrderReader._decode
    monkeypatch.setattr(pyav._InOrderReader, "_decode", lambda self: passes.append(1) or original(self))
    with open_video(two_kinds[1], {"name": "pyav"}) as decoder:
        decoder.get(range(decoder.num_frames))
        decoder.get([40, 3])
    assert len(passes) == 1


def test_frames_beyond_the_memory_budget_are_right_too(two_kinds, monkeypatch):
    reference = read_in_order(two_kinds[1])
    monkeypatch.setattr(pyav, "NATIVE_BUDGET_BYTES", 10 * 64 * 48 * 2)
    with open_video(two_kinds[1], {"name": "pyav"}) as decoder:
        assert decoder.num_frames == 48
        assert 0 < len(decoder._reader._kept) < 20
        for indices in ([2, 5, 30, 31, 47], [47, 0, 33, 33], [*range(48)]):
            assert_same(decoder.get(indices), reference[indices])


# ---- handing over ---------------------------------------------------------------------------------------------------


def test_decord_reads_what_it_reads_exactly_and_declares_the_rest(two_kinds, tmp_path):
    decord_class = DECODERS.get("decord")
    with open_video(two_kinds[0], {"name": "decord"}) as decoder:
        assert isinstance(decoder, decord_class)
    for path in (two_kinds[1], *(write_generated(tmp_path, name) for name in ("rotated_90.mp4", "h264_10bit.mp4"))):
        with pytest.raises(CannotRead, match=path.name):
            decord_class(path)


def test_handing_over_is_logged_once_for_each_reason(two_kinds, caplog, monkeypatch):
    monkeypatch.setattr(_base, "_announced", set())
    with caplog.at_level(logging.INFO, logger="videoadapt"):
        for _ in range(3):
            with open_video(two_kinds[1], {"name": "decord", "threads": 2}) as decoder:
                assert isinstance(decoder, DECODERS.get("pyav"))
    assert [record.getMessage() for record in caplog.records] == [
        "decord hands over to pyav: no exact seeking in mpeg4 in avi"
    ]


def test_without_decord_pyav_reads_everything(two_kinds, caplog, monkeypatch):
    monkeypatch.setattr(_base, "_announced", set())
    monkeypatch.setitem(sys.modules, "decord", None)
    with caplog.at_level(logging.INFO, logger="videoadapt"):
        for path in two_kinds:
            with open_video(path, {"name": "decord"}) as decoder:
                assert isinstance(decoder, DECODERS.get("pyav")) and decoder.num_frames == 48
    assert len(caplog.records) == 1 and "decord cannot be imported" in caplog.text


def test_an_unknown_decoder_is_a_config_error(two_kinds):
    with pytest.raises(ConfigError, match=r"decrod.*did you mean 'decord'"):
        open_video(two_kinds[0], {"name": "decrod"})


# ---- broken files ---------------------------------------------------------------------------------------------------


def truncated(folder: Path) -> Path:
    path = write_video(folder / "truncated.mp4")
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def truncated_behind_its_index(folder: Path) -> Path:
    path = write_video(folder / "half.mp4", bframes=2, container_options={"movflags": "faststart"})
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    path.write_bytes(content[: len(content) * 6 // 10])
    return path


def overwritten(folder: Path) -> Path:
    path = write_video(folder / "overwritten.mp4", options={"crf": "5"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    return path


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def text_named_mp4(folder: Path) -> Path:
    (folder / "text.mp4").write_text("class/video.avi 3\n" * 50)
    return folder / "text.mp4"


def text(folder: Path) -> Path:
    (folder / "list.txt").write_text("class/video.avi 3\n" * 50)
    return folder / "list.txt"


def audio(folder: Path) -> Path:
    with wave.open(str(folder / "song.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    return folder / "song.wav"


def directory(folder: Path) -> Path:
    (folder / "folder.mp4").mkdir()
    return folder / "folder.mp4"


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


@pytest.mark.parametrize(
    "broken",
    [truncated, truncated_behind_its_index, overwritten, empty, text_named_mp4, text, audio, directory, missing],
)
def test_a_broken_file_is_a_decode_error_that_names_it(tmp_path, reader, broken, capfd):
    path = broken(tmp_path)
    capfd.readouterr()
    with pytest.raises(DecodeError) as error, reader(path) as decoder:
        decoder.get(range(decoder.num_frames))
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
