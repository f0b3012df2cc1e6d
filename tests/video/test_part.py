"""The frames of a part of a film, by their own times, through every decoder and the cache."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.frames import decoders_here, source
from tests.media import STEPS, write_video
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.video.clip import read_clip
from videoadapt.video.decoders import open_video
from videoadapt.video.part import AnyPart, FilmPart, FramePart, FramesOfPart, Part, film_or_part, stem_of
from videoadapt.video.readers import ClipReader, ViewReader
from videoadapt.video.samplers.dense import Dense
from videoadapt.video.transforms import TrainTransform

EVEN = {"num_frames": 75}  # 25 a second, 3 s
VARIED = {"num_frames": 60, "steps": STEPS}  # shown for 1, 1, 3, 1, 7, 2 of 1/25 s, 15 in turn: 6 s
# seconds, and the frames whose time on the screen, [begin, end), meets them; counted by hand
PARTS = [
    (EVEN, Part(1, 2), range(25, 50)),
    (EVEN, Part(0.99, 1.01), range(24, 26)),
    (EVEN, Part(1.005, 1.006), range(25, 26)),
    (EVEN, Part(2.5), range(62, 75)),
    (EVEN, Part(2, 3.5), range(50, 75)),  # rounded seconds may end a little late
    (VARIED, Part(0.6, 1.2), range(6, 12)),
    (VARIED, Part(0.3, 0.5), range(4, 5)),  # all in the long one, on the screen from 0.24 to 0.52
    (VARIED, Part(0.5, 0.6), range(4, 6)),
]


@pytest.mark.parametrize("decoder", decoders_here())
@pytest.mark.parametrize(("film", "part", "shown"), PARTS)
def test_frames_on_the_screen(film: dict[str, object], part: Part, shown: range, decoder: str, tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "film.mp4", **film), decoder) as video:  # type: ignore[arg-type]
        frames = FramesOfPart(video, part, "film")
        assert frames.num_frames == len(shown) == len(frames.times)
        np.testing.assert_array_equal(frames.get(range(len(shown))), video.get(shown))
        end_sec = min(part.end_sec, video.times.length_sec)
        assert frames.times.length_sec == pytest.approx(end_sec - part.start_sec)
        moments = np.arange(frames.times.num_frames_at(50))
        in_film = np.searchsorted(video.times.until_sec, part.start_sec + moments / 50 + 1e-3, side="right")
        assert (frames.times.shown_at(moments, 50) + shown[0]).tolist() == in_film.tolist()


def test_a_millisecond_is_no_frame(tmp_path: Path) -> None:
    """As Matroska rounds its stamps: neither one more at an end, nor none at all."""
    with open_video(write_video(tmp_path / "film.mp4", **EVEN)) as video:
        assert Part(0.9995, 2.0005).range_in(video) == (25, 25)
        assert Part(0.9995, 1.0005).range_in(video) == (25, 1)


def test_a_part_is_written_in_full_and_may_end_late() -> None:
    assert str(Part(3724.375, 3726.1875)) == "#t=3724.375,3726.1875" and str(Part(3724.375)) == "#t=3724.375"
    assert Part(1, 4).problem_in(75, 3.0) is None and Part(1).problem_in(75, 3.0) is None
    assert Part(1, 4.01).problem_in(75, 3.0) == "end_sec = 4.01: the film ends at 3.000 s"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Part(3, 4), "film.mp4: start_sec = 3: the film ends at 3.000 s"),
        (Part(1, 4.5), "film.mp4: end_sec = 4.5: the film ends at 3.000 s"),
    ],
)
def test_a_part_beyond_the_film_is_refused(part: Part, said: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", **EVEN)
    with open_video(path) as video, pytest.raises(DecodeError, match=said):
        FramesOfPart(video, part, path)


@pytest.mark.parametrize("fps_hz", [None, 10.0])
def test_readers_see_the_part_only(fps_hz: float | None, tmp_path: Path) -> None:
    """Each clip is one of the film that holds those frames alone, with and without a cache, which holds the film once."""
    path, part = write_video(tmp_path / "film.mp4", **EVEN), Part(1, 2)
    with open_video(path) as video:
        expected = video.get(range(25, 50))
    for cache in ("off", tmp_path / "cache"):
        made = source(Path(cache))
        dense = Dense(stride_frames=2, fps_hz=fps_hz)
        views_NJCTHW = ViewReader(made, dense, num_frames=4, crop_px=48, num_clips=3, num_crops=1).with_notes(
            path, part
        )[0]
        with closing(made.open(path)) as film:
            of_part = dense.test_clips(FramesOfPart(film, part, path), 4, 3)
        assert of_part.max() < 25 and len(np.unique(of_part)) > 4
        seen = views_NJCTHW[:, 0].permute(0, 2, 3, 4, 1)
        assert torch.equal(seen, torch.from_numpy(expected[of_part][..., 8:56, :]))
        reader = ClipReader(made, dense, TrainTransform(crop_px=48, crop="centre", flip=0, erasing=0), num_frames=4)
        clips = reader.with_notes(path, [np.random.default_rng(seed) for seed in range(20)], part)[0]
        frames = {frame.tobytes() for frame in clips.permute(0, 2, 3, 4, 1).reshape(-1, 48, 48, 3).numpy()}
        assert frames <= {frame.tobytes() for frame in np.ascontiguousarray(expected[:, :, 8:56])} and len(frames) > 8
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.stat().st_size > 75 * 48 * 64 * 3]) == 1


def test_a_clip_of_a_part(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", **EVEN)
    with open_video(path) as video:
        expected = torch.from_numpy(video.get([25, 29, 33, 37])).permute(3, 0, 1, 2)
    assert torch.equal(read_clip(path, 4, 4, start=0, start_sec=1, end_sec=2), expected)
    assert torch.equal(read_clip(path, 4, 4, start_sec=1, end_sec=1.6), expected)
    for start, end, said in ((2, 1, "end_sec = 1: allowed: above"), (-1, 1, "start_sec = -1: allowed: 0 or more")):
        with pytest.raises(ConfigError, match=said):
            read_clip(path, start_sec=start, end_sec=end)


@pytest.mark.parametrize(
    "part", [Part(1.5, 4), Part(0.1), Part(0, 1e-3), Part(12.25, 3600), FramePart(12, 175), FramePart(3)]
)
def test_a_part_goes_by_the_name_that_results_give_it(part: AnyPart) -> None:
    assert film_or_part(f"a/film.mp4{part}") == FilmPart(Path("a/film.mp4"), part)


def test_results_of_films_and_parts_have_names_of_their_own() -> None:
    """A # may stand in the name of a film."""
    films = ["a/film.mp4", "film.mp4#t=1.5,4", "film.mp4#t=1.7,4", "film.mp4#frame=0,9", "a#1.mp4", "a#2.mp4", "#1.mp4"]
    assert [stem_of(Path(film)) for film in films] == [
        "film", "film#t=1.5,4", "film#t=1.7,4", "film#frame=0,9", "a#1", "a#2", "#1",
    ]  # fmt: skip
    assert stem_of("film.mp4#t=4,1") == "film"  # no part, which is said where it is read


def test_names_that_are_no_parts(tmp_path: Path) -> None:
    for name in ("film.mp4", "film#t.mp4", "film.mp4#t=", "film.mp4#t=,", "film.mp4#t=a,b", "#t=1"):
        assert film_or_part(name) == Path(name)
    assert film_or_part("film.mp4#t=,4") == FilmPart(Path("film.mp4"), Part(0, 4))
    odd = tmp_path / "film.mp4#t=1,2"
    odd.touch()
    assert film_or_part(odd) == odd
    with pytest.raises(DecodeError, match=r"film\.mp4#t=4,1: end_sec = 1: allowed: above start_sec = 4"):
        film_or_part("film.mp4#t=4,1")
