"""Frame indices against the reference code's numbers and worked examples, and properties for every length."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from videoadapt.config.loading import load_config
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.registry import SAMPLERS
from videoadapt.video.samplers import Sampler
from videoadapt.video.samplers.dense import Dense
from videoadapt.video.samplers.segment import Segment

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "facts.json").read_text())["sampling"]
SPECS = {
    "dense": {"name": "dense"},
    "dense 3": {"name": "dense", "stride_frames": 3},
    "videomae": {"name": "dense", "window": "videomae"},
    "videomae 7": {"name": "dense", "window": "videomae", "stride_frames": 7},
    "adaptformer": {"name": "dense", "window": "adaptformer"},
    "adaptformer 1": {"name": "dense", "window": "adaptformer", "stride_frames": 1},
    "segment": {"name": "segment"},
    "segment, first frame": {"name": "segment", "short": "first_frame"},
}
EVERY = pytest.mark.parametrize("sampler", [SAMPLERS.build(spec) for spec in SPECS.values()], ids=list(SPECS))


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class _End:
    """Stands for a Generator whose one draw is known; remembers the range that was asked for."""

    def __init__(self, value: int):
        self.value = value

    def integers(self, low: int, high: int) -> int:
        self.range = (low, high)
        return self.value


@pytest.mark.parametrize("case", sorted(GOLDEN))
def test_dense_test_indices_equal_the_reference(case: str) -> None:
    frames, num_frames, stride, clips = map(int, re.findall(r"\d+", case))
    assert Dense(stride_frames=stride).test_indices(frames, num_frames, clips).tolist() == GOLDEN[case]


def test_the_golden_file_covers_short_and_long_videos() -> None:
    assert {int(re.findall(r"\d+", case)[0]) for case in GOLDEN} == {1, 20, 73, 250, 300}


# 300 frames list 75 at stride 4, 67 to spare, position 33; 40 list 10, 2 to spare, position 1.
@pytest.mark.parametrize(("frames", "first"), [(300, 33 * 4), (40, 4), (34, 0), (29, 0), (20, 0)])
def test_one_dense_clip_is_the_centre(frames: int, first: int) -> None:
    assert Dense().test_indices(frames, 8, 1)[0, 0] == first


@EVERY
@pytest.mark.parametrize("num_frames", [8, 16])
def test_indices_are_sorted_in_range_and_of_the_right_shape(sampler: Sampler, num_frames: int) -> None:
    rng = _rng()
    for frames in range(1, 401):
        clips = (1, 2) if isinstance(sampler, Segment) else (1, 2, 4, 5)
        rows = [sampler.train_indices(frames, num_frames, rng)[None] for _ in range(3)]
        rows += [sampler.test_indices(frames, num_frames, n) for n in clips]
        assert [len(row) for row in rows] == [1, 1, 1, *clips]
        for indices in rows:
            assert indices.dtype == np.int64 and indices.shape[1] == num_frames
            assert indices.min() >= 0 and indices.max() < frames, (frames, indices)
            assert (np.diff(indices) >= 0).all(), (frames, indices)


def test_random_start_is_uniform_over_every_start_that_fits() -> None:
    # 8 frames at stride 4 span 29 frames: 33 frames leave starts 0..4.
    rng = _rng()
    starts: Counter[int] = Counter()
    for _ in range(5000):
        indices = Dense().train_indices(33, 8, rng)
        assert (np.diff(indices) == 4).all()
        starts[int(indices[0])] += 1
    assert sorted(starts) == [0, 1, 2, 3, 4]
    assert all(abs(count - 1000) < 5 * np.sqrt(1000 * 0.8) for count in starts.values()), starts


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (20, [0, 4, 8, 12, 16, 16, 16, 16]),
        (17, [0, 4, 8, 12, 16, 16, 16, 16]),
        (28, [0, 4, 8, 12, 16, 20, 24, 24]),
        (29, [0, 4, 8, 12, 16, 20, 24, 28]),
        (3, [0] * 8),
    ],
)
def test_random_start_repeats_the_last_frame_of_a_short_video(frames: int, expected: list[int]) -> None:
    assert Dense().train_indices(frames, 8, _rng()).tolist() == expected


def walked(frames: int, num_frames: int, stride: int, start: int) -> list[int]:
    """Frame by frame, counted from 1 as AdaptFormer's loader does: it steps on only while that stays before the last one."""
    number, found = start + 1, []
    for _ in range(num_frames):
        found.append(number - 1)
        number += stride if number + stride < frames else 0
    return found


@pytest.mark.parametrize(("num_frames", "stride"), [(8, 4), (8, 1), (16, 4), (16, 2), (1, 4)])
def test_adaptformers_window_is_its_loaders(num_frames: int, stride: int) -> None:
    sampler = Dense(window="adaptformer", stride_frames=stride)
    for frames in range(1, 150):
        starts = range(max(frames - num_frames * stride + 1, 1))
        for start in starts:
            found = sampler.train_indices(frames, num_frames, _Start(start, len(starts)))
            assert found.tolist() == walked(frames, num_frames, stride, start)


class _Start:
    """Stands for a Generator whose one draw is known, and checks the range that is asked for."""

    def __init__(self, value: int, high: int):
        self.value, self.high = value, high

    def integers(self, low: int, high: int | None = None, size: int | None = None) -> int:
        assert (low, high, size) == (self.high, None, None)
        return self.value


def test_ours_fits_where_adaptformers_stops_early() -> None:
    assert Dense().train_indices(29, 8, _rng()).tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert Dense(window="adaptformer").train_indices(29, 8, _rng()).tolist() == [0, 4, 8, 12, 16, 20, 24, 24]


def test_a_short_video_shows_videomae_its_first_frame() -> None:
    assert Segment(short="first_frame").train_indices(5, 8, _rng()).tolist() == [0] * 8
    assert Segment().train_indices(5, 8, _rng()).tolist() == [0, 0, 1, 1, 2, 3, 3, 4]
    same = [Segment(short=how).train_indices(8, 8, _rng(3)).tolist() for how in ("first_frame", "spread")]
    assert same[0] == same[1] == list(range(8))


def test_videomae_window_worked_examples() -> None:
    sampler, end = Dense(window="videomae"), _End(40)
    assert sampler.train_indices(73, 8, end).tolist() == [8, 12, 17, 21, 26, 30, 35, 39]  # type: ignore[arg-type]
    assert end.range == (32, 73)
    assert sampler.train_indices(20, 8, _rng()).tolist() == [0, 5, 10, 15, 19, 19, 19, 19]
    assert sampler.train_indices(32, 8, _rng()).tolist() == [0, 4, 9, 13, 18, 22, 27, 31]
    assert sampler.train_indices(3, 8, _rng()).tolist() == [2] * 8  # shorter than the stride: the last frame only


def _ssv2_reference(frames: int, num_frames: int, view: int) -> list[int]:
    tick = frames / num_frames
    both = [int(tick / 2 + tick * i) for i in range(num_frames)] + [int(tick * i) for i in range(num_frames)]
    return sorted(both)[view::2]


@pytest.mark.parametrize("num_frames", [8, 16, 7])
def test_segment_test_clips_are_every_second_sorted_position(num_frames: int) -> None:
    for frames in range(1, 401):
        clips = Segment().test_indices(frames, num_frames, 2)
        assert clips.tolist() == [_ssv2_reference(frames, num_frames, view) for view in (0, 1)], frames
        assert Segment().test_indices(frames, num_frames, 1).tolist() == clips[1:].tolist()


def test_segment_training_draws_one_frame_from_each_segment() -> None:
    rng = _rng()
    draws = np.stack([Segment().train_indices(43, 8, rng) for _ in range(4000)])  # segments of 5; 40, 41, 42 unused
    offsets = draws - 5 * np.arange(8)
    for column in offsets.T:
        counts = np.bincount(column, minlength=5)
        assert len(counts) == 5 and (abs(counts - 800) < 5 * np.sqrt(800 * 0.8)).all(), counts
    assert abs(np.corrcoef(offsets.T) - np.eye(8)).max() < 0.08  # every segment draws for itself


def test_segment_repeats_a_short_video_evenly() -> None:
    assert Segment().train_indices(3, 8, _rng()).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    for frames in range(1, 16):
        indices = Segment().train_indices(frames, 16, _rng())
        counts = np.bincount(indices, minlength=frames)
        assert counts.max() - counts.min() <= 1
        assert indices.tolist() == Segment().test_indices(frames, 16, 2)[0].tolist()


@EVERY
def test_a_clip_depends_on_its_seed_only(sampler: Sampler) -> None:
    first, same, other = (sampler.train_indices(300, 16, _rng(seed)).tolist() for seed in (1, 1, 2))
    assert first == same != other


def test_every_sampler_of_the_house_is_tested() -> None:
    assert {spec["name"] for spec in SPECS.values()} == set(SAMPLERS.names())


@pytest.mark.parametrize("clips", [0, 3, -1])
def test_segment_refuses_other_numbers_of_clips(clips: int) -> None:
    with pytest.raises(ConfigError, match=rf"num_clips: {clips} .*use 1 or 2"):
        Segment().test_indices(100, 16, clips)


@EVERY
def test_impossible_requests_are_named(sampler: Sampler) -> None:
    with pytest.raises(DecodeError, match="0 frames"):
        sampler.train_indices(0, 8, _rng())
    with pytest.raises(DecodeError, match="0 frames"):
        sampler.test_indices(0, 8, 1)
    with pytest.raises(ConfigError, match="num_frames: 0"):
        sampler.train_indices(10, 0, _rng())
    if isinstance(sampler, Dense):
        with pytest.raises(ConfigError, match="num_clips: 0"):
            sampler.test_indices(10, 8, 0)


def test_a_config_names_its_sampler(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("output: o\n")
    written = {"name": "dense", "stride_frames": 4, "window": "random_start", "fps_hz": None, "stride_sec": None}
    assert load_config(path).data.sampling == written
    segment = {"name": "segment", "short": "spread", "fps_hz": None}
    assert load_config(path, ["data.sampling.name", "segment"]).data.sampling == segment
    path.write_text("output: o\ndata: {sampling: {name: dense, stride_frames: 2}}\n")
    assert load_config(path).data.sampling == written | {"stride_frames": 2}


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ("{name: sparse}", "data.sampling.name = 'sparse': allowed: dense, segment"),
        ("{name: segment, stride_frames: 4}", "data.sampling.stride_frames: unknown key; allowed: fps_hz, name, short"),
        (
            "{name: dense, stride_frames: 0}",
            "data.sampling.stride_frames = 0: input should be greater than or equal to 1",
        ),
        (
            "{name: dense, window: all}",
            "data.sampling.window = 'all': input should be 'random_start', 'adaptformer' or 'videomae'",
        ),
    ],
)
def test_wrong_samplings_are_refused(sampling: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"output: o\ndata: {{sampling: {sampling}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.problems == [f"{path}: {said}"]


def test_importing_sampling_does_not_import_torch() -> None:
    code = "import sys, videoadapt.video.samplers.dense; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
