"""Common corruptions: those of ImageNet-C as the library has them, ours as they are described, all by their seed alone."""

from pathlib import Path

import av
import numpy as np
import pytest

from videoadapt.errors import ConfigError
from videoadapt.video.corruptions import KINDS, coding, corrupt

GOLDEN = Path(__file__).parents[1] / "golden" / "corruptions.npz"
PUBLISHED = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "motion_blur",
    "fog",
    "brightness",
    "contrast",
)
DRAWN = set(KINDS) - {
    "defocus_blur",
    "brightness",
    "contrast",
    "pixelate",
    "h264",
    "frame_rate",
    "reversed_time",
    "mirrored",
}
GRADED = [name for name, kind in KINDS.items() if len(kind.levels) > 1 and name != "fog"]  # whose clouds are drawn


def film(num_frames: int = 12, height: int = 48, width: int = 66) -> np.ndarray:
    """A smooth picture with an edge, which moves by two pixels a frame, and no frame is like another."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([40 + 2 * x, 60 + 3 * y, 200 - x - y], axis=2).clip(0, 255)
    picture[10:30, 15:40] = (200, 30, 90)
    return np.stack([np.roll(picture, 2 * number, axis=1) for number in range(num_frames)]).astype(np.uint8)


def random_frames(num_frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def difference(frames: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(frames.astype(int) - others).mean())


@pytest.mark.parametrize("name", [*PUBLISHED, "pixelate"])
def test_as_imagecorruptions_has_them(name: str) -> None:
    with np.load(GOLDEN) as golden:
        frames_1HWC, expected = golden["frame_HWC"][None], golden[name].astype(int)
    for level, theirs in zip(KINDS[name].levels, expected, strict=True):
        ours = KINDS[name].apply(frames_1HWC, level, np.random.default_rng(7))[0, ::5, ::4]
        # float32 where the library has float64, and both cut off: one grey level, seldom
        assert np.abs(ours - theirs).max() <= 1 and (ours != theirs).mean() < 0.1


@pytest.mark.parametrize("name", KINDS)
def test_shape_and_draws(name: str) -> None:
    frames, kept = film(), film()
    found = corrupt(frames, name, 1)
    assert found.shape == frames.shape and found.dtype == np.uint8 and found.flags.c_contiguous
    assert (frames == kept).all()  # what was given is as it was
    assert (found != frames).any() or name in ("packet_loss", "dropped_frames", "repeated_frames")
    assert (corrupt(frames, name, 1) == found).all()
    others = [corrupt(frames, name, 1, 0, f"film {number}") for number in range(6 if name == "large_rotation" else 3)]
    assert (name in DRAWN) == any((other != found).any() for other in others)
    assert corrupt(frames[:1], name, 1).shape == frames[:1].shape


@pytest.mark.parametrize("name", GRADED)
def test_a_higher_strength_changes_more(name: str) -> None:
    frames = film()
    seeds = range(1 if name not in DRAWN else 2 if name == "packet_loss" else 6)
    weak, strong = (np.mean([difference(corrupt(frames, name, s, seed), frames) for seed in seeds]) for s in (1, 5))
    if name == "large_rotation":  # by 180 degrees no more than by 90
        strong = difference(corrupt(frames, name, 3), frames)
    assert strong > 1.2 * weak > 0


@pytest.mark.parametrize("name", ["frame_rate", "dropped_frames", "repeated_frames", "reversed_time", "shuffled_time"])
def test_moments_change_and_no_pixel(name: str) -> None:
    frames = random_frames(16, 8, 8)
    found = corrupt(frames, name, 1 if name == "frame_rate" or name not in GRADED else 3)
    places = [int(np.flatnonzero((frames == frame).all(axis=(1, 2, 3)))[0]) for frame in found]
    rises = np.diff(places)
    if name == "frame_rate":
        assert places == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14]
    elif name == "dropped_frames":
        assert places[0] == 0 and places[-1] == max(places) and (rises >= 0).all() and (rises > 1).any()
    elif name == "repeated_frames":
        assert places[0] == 0 and set(rises) == {0, 1}
    else:
        assert sorted(places) == list(range(16)) and (places == list(range(15, -1, -1))) == (name == "reversed_time")


def test_lost_packets_are_lost() -> None:
    frames, options = film(), {"crf": "23", "tune": "zerolatency", "slices": "4"}
    rng, sent, arrived = np.random.default_rng(0), [], []
    for _, data in coding._encoded(frames, options):
        for units, those in ((sent, data), (arrived, coding._thinned(data, 0.5, rng))):
            units.append(sum(coding._type(unit) in (1, 5) for unit in coding._units(those)))
    assert sent == [3] * 12  # x264 makes no more slices than there are rows of macroblocks
    assert arrived[0] == 3 and 8 < sum(arrived[1:]) < 25  # the key frame is whole, of 33 others half is there
    nothing_lost = coding.packet_loss(frames, 0.0, rng)
    assert difference(nothing_lost, frames) < 6
    everything_lost = coding.packet_loss(frames, 1.0, rng)
    assert (everything_lost == nothing_lost[0]).all()  # only the key frame arrived, and it stands
    some = coding.packet_loss(frames, 0.4, rng)
    assert (some[0] == nothing_lost[0]).all() and difference(some, nothing_lost) > 1


def test_h264_is_what_x264_makes_of_a_file(tmp_path: Path) -> None:
    """The same rate factor in a file that is written and read by others' code: av's containers, and its own conversion."""
    frames = film(10, 48, 64)
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=coding.RATE_HZ, options={"crf": "37", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(tmp_path / "film.mp4")) as container:
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert difference(corrupt(frames, "h264", 3), read) < 0.6 < difference(frames, read)


def test_noise_is_new_in_each_frame_and_fog_is_not() -> None:
    still = film(1).repeat(3, axis=0)
    for name in ("gaussian_noise", "shot_noise", "impulse_noise", "fog", "motion_blur", "small_rotation", "occlusion"):
        first, *others = corrupt(still, name, 3)
        assert all((other == first).all() != name.endswith("noise") for other in others)


def test_a_turn_by_180_degrees_is_exact() -> None:
    frames = random_frames(2, 20, 32)
    assert (corrupt(frames, "large_rotation", 5) == frames[:, ::-1, ::-1]).all()


@pytest.mark.parametrize(
    ("kind", "strength", "said"),
    [
        ("gausian_noise", 3, "did you mean 'gaussian_noise'"),
        ("fog", 6, "strength = 6: fog allows 1 to 5"),
        ("fog", 0, "strength = 0"),
        ("mirrored", 2, "mirrored allows 1, as it has no grades"),
    ],
)
def test_other_kinds_and_strengths_are_refused(kind: str, strength: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        corrupt(film(1), kind, strength)


def test_other_frames_are_refused() -> None:
    with pytest.raises(TypeError, match="got an array of float64"):
        corrupt(film(1) / 255, "fog", 1)
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\)"):
        corrupt(film(1)[0], "fog", 1)
