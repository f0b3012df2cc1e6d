"""Every decoder gives, for every index, the frame that PyAV gives when it reads the file in order, or the ffmpeg command."""

import logging
import wave
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from tests import media
from tests.frames import FILE_DECODERS, assert_same, read_in_order, require_decoder, shown_by_ffmpeg
from tests.media import FILMS, UNUSUAL, VP9, X264_FIXED_GOP, X265, write_film, write_two_sizes, write_video
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders import _base, _mpeg4, _probe, _seeking, pyav
from videoadapt.video.decoders._base import open_video
from videoadapt.video.decoders._probe import probe

REAL = [  # name, frames that decode, whether seeking is exact
    ("RATRACE_wave_f_nm_np1_fr_goo_37.avi", 72, False),
    ("SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi", 74, False),
    ("TrumanShow_wave_f_nm_np1_fr_med_26.avi", 48, False),
    ("hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi", 83, False),
    ("v_SoccerJuggling_g23_c01.avi", 240, True),
    ("v_SoccerJuggling_g24_c01.avi", 251, True),
    ("R6llTwEh07w.mp4", 303, True),
    ("SOX5yA1l24A.mp4", 332, True),
    ("WUzgd7C1pWA.mp4", 327, True),
    ("arm_wrestling.mp4", 280, True),
    ("flipping_a_pancake.mkv", 310, True),
    ("nasa_13013.mp4", 390, True),
    ("testsrc2_h265.mp4", 60, True),
]

FILES = [name for name, *_ in REAL] + list(FILMS)
# Files in which seeking is exact and that are handed over all the same: colour is interpolated otherwise, or worse.
OTHER_COLOUR = {"h264_10bit.mp4", "h264_444_odd.mp4", "vp9_odd.webm", "rgb.mp4"}
TURNED = {"rotated_90.mp4", "rotated_180.mp4", "rotated_270.mp4"}
MIRRORED = {"mirrored.mp4", "upside_down.mov", "transposed.mkv"}
VP9_FILES = {"vp9.webm", "vp9_vfr.mkv", "full_range_later.webm"}
NARROW = {"narrow_48.mp4", "narrow_72.mp4"}
SEVERAL = {"two_streams.mp4", "two_streams.mkv", "nasa_13013.mp4"}
MPEG4 = {"v_SoccerJuggling_g23_c01.avi", "v_SoccerJuggling_g24_c01.avi", "mpeg4_not_utf8.avi", "interlaced_mpeg4.avi"}
HANDED_OVER = {
    "decord": OTHER_COLOUR | TURNED | MIRRORED | VP9_FILES | NARROW | SEVERAL | MPEG4,
    "nvdec": OTHER_COLOUR | VP9_FILES | MPEG4,
    "torchcodec": OTHER_COLOUR | MIRRORED | MPEG4 | {"tagged_rgb.mp4", "full_range_later.webm"},
}
SEEKABLE = {name: seekable for name, _, seekable in REAL} | {name: exact for name, (_, exact) in FILMS.items()}


def written(folder: Path, name: str) -> Path:
    try:
        return write_film(folder, name)
    except av.codec.codec.UnknownCodecError as error:
        pytest.skip(f"this PyAV has no encoder for {name}: {error}")


@pytest.fixture(scope="module", params=FILES)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    if request.param in FILMS:
        path = written(tmp_path_factory.mktemp("films"), request.param)
    else:
        path = request.getfixturevalue("clips_dir") / request.param
    return path, (shown_by_ffmpeg if path.name in UNUSUAL else read_in_order)(path)


@pytest.fixture(params=FILE_DECODERS)
def decoder_name(request: pytest.FixtureRequest) -> str:
    require_decoder(request.param)
    return request.param


@pytest.fixture
def reader(decoder_name: str) -> Callable[[Path], _base.Decoder]:
    return lambda path: open_video(path, {"name": decoder_name})


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
def test_an_index_out_of_range_names_file_and_range(two_kinds, reader, bad):
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
        path = write_video(tmp_path / "video.mp4", counterclockwise=counterclockwise, fps_hz=30, num_frames=3)
        with reader(path) as decoder:
            assert (decoder.rotation, decoder.fps_hz) == (clockwise, 30.0)
            assert (decoder.height, decoder.width) == size


def test_a_rotation_that_is_no_quarter_turn_is_refused(tmp_path, reader):
    with pytest.raises(DecodeError, match="45 degrees; allowed: multiples of 90"):
        reader(write_video(tmp_path / "tilted.mp4", counterclockwise=45, num_frames=3))


def test_no_threads_is_refused(two_kinds, decoder_name):
    with pytest.raises(ConfigError, match=": threads = 0: input should be greater than or equal to 1"):
        open_video(two_kinds[0], {"name": decoder_name, "threads": 0})


# ---- reading no more than needed ------------------------------------------------------------------------------------


def test_a_request_decodes_no_packet_twice_and_none_between(two_kinds, monkeypatch):
    decoded = []
    original = _seeking.SeekingReader._packets

    def counting(self, first, last):
        for packet in original(self, first, last):
            decoded.append(packet.pts // packet.duration)
            yield packet

    monkeypatch.setattr(_seeking.SeekingReader, "_packets", counting)
    with open_video(two_kinds[0], {"name": "pyav"}) as decoder:  # key frames 0, 12, 24, 36; up to two B after each P
        decoder.get([40, 1, 5, 14, 13, 24])
    assert decoded == [0, 3, 1, 2, 5, 12, 15, 13, 14, 24, 36, 39, 37, 38, 42, 40]


@pytest.mark.parametrize("budget", [0, 10**9])
def test_packets_beyond_the_memory_budget_are_read_again(two_kinds, budget, monkeypatch):
    monkeypatch.setattr(_probe, "PACKET_BUDGET_BYTES", budget)
    for path in two_kinds:
        reference = read_in_order(path)
        with open_video(path, {"name": "pyav"}) as decoder:
            for indices in ([40, 3], [*range(48)]):
                assert_same(decoder.get(indices), reference[indices])


def test_reading_on_in_parts_decodes_no_packet_twice(two_kinds, monkeypatch):
    fed = []
    original = _seeking.SeekingReader._packets
    monkeypatch.setattr(
        _seeking.SeekingReader, "_packets", lambda *args: (fed.append(packet) or packet for packet in original(*args))
    )
    reference = read_in_order(two_kinds[0])
    with open_video(two_kinds[0], {"name": "pyav"}) as decoder:
        for start in range(0, 48, 5):
            assert_same(decoder.get(range(start, min(start + 5, 48))), reference[start : start + 5])
    assert len(fed) == 48


def test_frames_within_the_memory_budget_are_decoded_once(two_kinds, monkeypatch):
    passes = []
    original = pyav._decode_packets
    monkeypatch.setattr(pyav, "_decode_packets", lambda film: passes.append(1) or original(film))
    with open_video(two_kinds[1], {"name": "pyav"}) as decoder:
        decoder.get(range(decoder.num_frames))
        decoder.get([40, 3])
    assert len(passes) == 1


def test_frames_beyond_the_memory_budget_are_right_too(two_kinds, monkeypatch):
    reference = read_in_order(two_kinds[1])
    monkeypatch.setattr(pyav, "NATIVE_BUDGET_BYTES", 10 * 64 * 48 * 2)
    with open_video(two_kinds[1], {"name": "pyav"}) as decoder:
        assert decoder.num_frames == 48
        for indices in ([2, 5, 30, 31, 47], [47, 0, 33, 33], [*range(48)]):
            assert_same(decoder.get(indices), reference[indices])
            assert 0 < len(decoder._reader._kept) < 20


# ---- handing over ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HANDED_OVER)
def test_each_decoder_hands_over_what_it_reads_inexactly(film, name):
    path, _ = film
    require_decoder(name)
    by_itself = SEEKABLE[path.name] and path.name not in HANDED_OVER[name]
    with open_video(path, {"name": name}) as decoder:
        assert isinstance(decoder, DECODERS.get(name if by_itself else "pyav"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mpeg4.avi", "no exact seeking in mpeg4 in avi"),
        ("av1.mp4", "no exact seeking in libdav1d in mov"),
        ("h264_open.mkv", "no exact seeking in open groups of pictures"),
    ],
)
def test_handing_over_is_logged_once_for_each_reason(tmp_path, decoder_name, name, reason, caplog, monkeypatch):
    monkeypatch.setattr(_base, "_announced", set())
    path = written(tmp_path, name)
    with caplog.at_level(logging.INFO, logger="videoadapt"):
        for _ in range(3):
            with open_video(path, {"name": decoder_name, "threads": 2}) as decoder:
                assert isinstance(decoder, DECODERS.get("pyav"))
    expected = [] if decoder_name == "pyav" else [f"{decoder_name} hands over to pyav: {reason}"]
    assert [record.getMessage() for record in caplog.records] == expected


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
    return media.overwritten(folder / "overwritten.mp4")


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
    ("name", "codec", "options"),
    [
        ("h264.mp4", "libx264", X264_FIXED_GOP),
        ("hevc.mkv", "libx265", {"x265-params": X265 + "0"}),
        ("vp9.webm", "libvpx-vp9", VP9),
    ],
)
def test_a_change_of_size_is_an_error_from_there_on(tmp_path, reader, name, codec, options):
    path = write_two_sizes(tmp_path / name, codec, options)
    with av.open(str(path)) as container:
        reference = np.stack([frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 24)])
    with reader(path) as decoder:
        assert_same(decoder.get(range(24)), reference)
        for beyond in ([30], [3, 40]):
            with pytest.raises(DecodeError, match=path.name):
                decoder.get(beyond)


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


CUT = ["mpeg4.avi", "h264.avi", "mpeg4_not_utf8.avi", "h264.mkv", "vp9.webm"]


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("name", CUT)
def test_a_film_cut_off_is_an_error_and_not_a_shorter_film(tmp_path, reader, name, share):
    path = written(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DecodeError, match=rf"{name}: is cut off, its last [0-9]+ bytes are missing; copy it again"):
        reader(path)


@pytest.mark.parametrize("name", ["RATRACE_wave_f_nm_np1_fr_goo_37.avi", "flipping_a_pancake.mkv"])
def test_a_real_film_cut_in_half_is_an_error(clips_dir, tmp_path, reader, name):
    content = (clips_dir / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError, match="is cut off"):
        reader(tmp_path / name)


def test_avi_without_index_and_matroska_without_size_are_read(tmp_path, reader):
    path = write_video(tmp_path / "no_index.avi", codec="mpeg4")
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"idx1")])
    live = write_video(tmp_path / "live.mkv", container_options={"live": "1"})
    for film in (path, live):
        with reader(film) as decoder:
            assert decoder.num_frames == 48


# ---- MPEG-4 counted by its pictures' headers ------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [73, 72, 71, 40, 3])
def test_packed_pictures_are_counted_wherever_the_video_ends(clips_dir, kept):
    """HMDB51's kind: two pictures in a packet, an empty one in the next, and the very last may wait in vain."""
    path = clips_dir / "RATRACE_wave_f_nm_np1_fr_goo_37.avi"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size][:kept]
        counted = _mpeg4.mpeg4_facts(packets, stream.codec_context.extradata).num_frames
        stream.codec_context.thread_count = 1
        assert counted == sum(len(stream.codec_context.decode(packet)) for packet in [*packets, None])


@pytest.mark.parametrize("damage", ["packet lost", "first picture lost", "sprite", "second layer"])
def test_unusual_mpeg4_is_not_counted_by_its_headers(clips_dir, damage):
    path = clips_dir / "RATRACE_wave_f_nm_np1_fr_goo_37.avi"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        extradata = stream.codec_context.extradata
    packed = next(place for place, packet in enumerate(packets) if bytes(packet).count(_mpeg4.VOP) == 2)
    if damage == "packet lost":
        del packets[packed + 1]
    elif damage == "first picture lost":
        del packets[0]
    elif damage == "sprite":
        packets[packed] = av.Packet(bytes(packets[packed]).replace(_mpeg4.VOP, _mpeg4.VOP + b"\xff", 1))
    else:
        other = b"\0\0\1\x20" + bytes(8)
        packets[packed] = av.Packet(other + bytes(packets[packed]))
    assert _mpeg4.mpeg4_facts(packets, extradata).num_frames is None
