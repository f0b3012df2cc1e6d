"""Whole frames with bars: nothing is cut off, sizes and places are exact, and testing and training agree."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.media import write_video
from tests.toy_runs import toy_config
from videoadapt.config.loading import check_config
from videoadapt.config.schema import DataConfig
from videoadapt.errors import ConfigError
from videoadapt.runs.build_data import build_clip_reader, build_view_reader
from videoadapt.runs.checks import setting_problems
from videoadapt.video.letterbox import Letterbox
from videoadapt.video.transforms import TrainTransform

SIDES = (32, 64)


def frames(height: int, width: int, level: int = 200) -> Tensor:
    return torch.full((2, 3, height, width), level, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("frame", "rows", "columns"),
    [
        ((64, 128), (0, 32), (0, 64)),  # of the crop's shape: no bars
        ((60, 80), (0, 32), (10, 53)),  # 32 x 42.67, in the middle
        ((30, 120), (8, 24), (0, 64)),
        ((8, 8), (0, 32), (16, 48)),  # smaller frames grow
        ((1000, 3), (0, 32), (31, 32)),  # a pixel wide at least
    ],
)
def test_frames_lie_in_the_middle_as_large_as_they_fit(
    frame: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    found = Letterbox(7).centred(frames(*frame), SIDES)
    expected = torch.full((2, 3, *SIDES), 7, dtype=torch.uint8)
    expected[..., slice(*rows), slice(*columns)] = 200
    assert torch.equal(found, expected)


def test_random_sizes_and_places_lie_in_the_crop() -> None:
    transform = TrainTransform(crop_px=SIDES, crop="random", flip=0.0, erasing=0.0, fit=Letterbox(7))
    boxes = []
    for seed in range(300):
        clip, _ = transform(frames(60, 80).permute(0, 2, 3, 1), torch.Generator().manual_seed(seed))
        assert clip.shape == (3, 2, *SIDES)
        rows, columns = np.nonzero(clip[0, 0].numpy() == 200)
        box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        assert len(rows) == (box[2] - box[0]) * (box[3] - box[1])  # whole: a rectangle, and bars around it
        boxes.append(box)
    heights = [bottom - top for top, _, bottom, _ in boxes]
    assert set(heights) == set(range(21, 33))
    assert all(abs((right - left) - (bottom - top) * 4 / 3) <= 1.2 for top, left, bottom, right in boxes)
    assert min(left for _, left, _, _ in boxes) == 0 and max(right for *_, right in boxes) == 64


def test_training_at_the_centre_sees_what_testing_sees(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    config = DataConfig.model_validate(
        {"resize": "letterbox", "bar_level": 124, "crop_px": [48, 32], "num_frames": 2, "augment": {"crop": "centre"}}
    )
    clips, _ = build_clip_reader(config)(path, [np.random.default_rng(0)])
    (view,) = build_view_reader(config, 1, 1)(path)[0]
    assert clips.shape[1:] == view.shape == (3, 2, 48, 32)
    bars = view[:, :, 0]
    assert (bars == 124).all() and torch.equal(clips[0][:, :, 0], bars)
    assert torch.equal(clips[0].float().std(dim=(2, 3)) > 0, view.float().std(dim=(2, 3)) > 0)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"augment": {"crop": "multi_scale"}},
            "data.augment.crop = multi_scale: cuts frames, which data.resize letterbox",
        ),
        (
            {"augment": {"crop": "random"}},
            "test.crops = 3: data.resize letterbox has one view of a clip, the whole frame",
        ),
        (
            {"rendered": {"motions": "quickstart", "clips_per_epoch": 8}, "train": None},
            "data.resize = letterbox: clips of data.rendered are cut",
        ),
    ],
)
def test_what_cuts_frames_is_refused(changes: dict[str, object], line: str, tmp_path: Path) -> None:
    config = check_config(toy_config(tmp_path / "o", tmp_path, data={"resize": "letterbox", **changes}))
    assert [problem for problem in setting_problems(config) if problem.startswith(line)]
    with pytest.raises(ConfigError, match="crop: 'random_resized' cuts frames"):
        TrainTransform(crop_px=8, crop="random_resized", flip=0, erasing=0, fit=Letterbox())
    with pytest.raises(ConfigError, match="num_crops: 3 is not allowed; a letterbox has one view"):
        build_view_reader(DataConfig(resize="letterbox"), 1, 3)
