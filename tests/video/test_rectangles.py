"""Crops that are no squares: nothing is stretched more than in a square, and all of the longer rest is tested."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.video.boxes import draw_erase_box, draw_resized_box, multi_scale_boxes
from videoadapt.video.resizing import resize_to_cover
from videoadapt.video.sides import sides_of, size_text
from videoadapt.video.transforms import TrainTransform, view_crops

CROPS = ("multi_scale", "random_resized", "random", "centre")


def ramp(height: int, width: int) -> Tensor:
    """A frame whose red says the row and green the column, in parts of 200: (1, H, W, 3)."""
    rows, columns = torch.arange(height)[:, None] * 200 // height, torch.arange(width)[None] * 200 // width
    planes = [rows.expand(height, width), columns.expand(height, width), torch.zeros(height, width, dtype=torch.int64)]
    return torch.stack(planes, dim=-1)[None].to(torch.uint8)


@pytest.mark.parametrize(
    ("frame", "crop", "resized"),
    [
        ((240, 320), (112, 224), (168, 224)),  # wider than the frame: the rest is above and below
        ((240, 320), (112, 112), (112, 149)),
        ((240, 320), (224, 112), (224, 298)),
        ((320, 240), (112, 224), (298, 224)),
        ((112, 224), (112, 224), (112, 224)),
        ((90, 160), (180, 320), (180, 320)),
    ],
)
def test_frames_just_cover_the_crop(frame: tuple[int, int], crop: tuple[int, int], resized: tuple[int, int]) -> None:
    found = resize_to_cover(torch.zeros(1, 3, *frame, dtype=torch.uint8), *crop)
    assert found.shape[-2:] == resized


def test_test_crops_are_spread_along_the_longer_rest() -> None:
    frames_TCHW = ramp(240, 320).permute(0, 3, 1, 2)
    views = view_crops(resize_to_cover(frames_TCHW, 112, 224), (112, 224), 3)
    assert [view.shape for view in views] == [(1, 3, 112, 224)] * 3
    assert [int(view[0, 0, 0, 0]) for view in views] == [0, 33, 66]  # rows 0, 28 and 56 of 168
    assert all(int(view[0, 1, 0, 0]) == 0 and int(view[0, 1, 0, -1]) == 199 for view in views)
    tall = view_crops(resize_to_cover(frames_TCHW, 224, 112), (224, 112), 2)
    assert [int(view[0, 1, 0, 0]) for view in tall] == [0, 125]  # columns 0 and 186 of 298
    with pytest.raises(ConfigError, match=r"crop_px: \(112, 224\) does not fit frames of 168 x 223 pixels"):
        view_crops(torch.zeros(1, 3, 168, 223), (112, 224), 3)


def test_multi_scale_boxes_have_the_crops_aspect() -> None:
    sizes = [boxes[0][2:] for boxes in multi_scale_boxes(240, 320, (112, 224))]
    assert sizes[0] == (160, 320) and len(sizes) == 10
    assert {(160, 320), (140, 280), (120, 240), (105, 211), (140, 320)} <= set(sizes)
    assert all(1.7 < width / height < 2.34 for height, width in sizes)
    assert max(height for height, _ in (boxes[0][2:] for boxes in multi_scale_boxes(240, 320, (224, 112)))) == 240
    # sides that nearly fit become the crop's, each its own
    assert (112, 224) in [boxes[0][2:] for boxes in multi_scale_boxes(114, 226, (112, 224))]


def test_random_resized_stretches_no_more_than_in_a_square() -> None:
    rng = random.Random(0)
    boxes = [draw_resized_box(240, 320, rng, (112, 224)) for _ in range(2000)]
    stretch = np.array([(width / height) / 2 for _, _, height, width in boxes])
    assert 0.74 < stretch.min() < 0.78 and 1.29 < stretch.max() < 1.36
    assert all(t >= 0 and left >= 0 and t + h <= 240 and left + w <= 320 for t, left, h, w in boxes)
    fallback = draw_resized_box(400, 10, random.Random(0), (112, 224))  # no box of the drawn areas fits
    assert fallback[2:] == (7, 10) and fallback[:2] == (196, 0)


def test_what_is_erased_lies_in_the_rectangle() -> None:
    rng = random.Random(0)
    boxes = [draw_erase_box(32, 96, rng) for _ in range(1000)]
    assert all(box is not None and box.top + box.height <= 32 and box.left + box.width <= 96 for box in boxes)
    areas = [box.height * box.width / (32 * 96) for box in boxes if box is not None]
    assert min(areas) > 0.015 and max(areas) < 0.36
    assert max(box.left + box.width for box in boxes if box is not None) > 90


@pytest.mark.parametrize("crop", CROPS)
def test_every_crop_gives_rectangles_and_squares_as_before(crop: str) -> None:
    frames_THWC = torch.cat([ramp(60, 80)] * 3)

    def clip(crop_px: int | tuple[int, int]) -> Tensor:
        transform = TrainTransform(crop_px=crop_px, crop=crop, flip=0.0, erasing=0.0)  # type: ignore[arg-type]
        return transform(frames_THWC, torch.Generator().manual_seed(4))[0]

    assert torch.equal(clip((32, 32)), clip(32))
    wide = clip((16, 48))
    assert wide.shape == (3, 3, 16, 48)
    red, green = wide[:2, 0].float()
    rows, columns = red.diff(dim=0).mean(), green.diff(dim=1).mean()  # per pixel, in parts of the frame's side
    assert rows > 0 and columns > 0
    assert 0.7 < float((columns * 80) / (rows * 60)) < 1.45  # as in the frame, but for the drawn stretch


def test_sides() -> None:
    assert sides_of(5) == (5, 5) and sides_of([2, 3]) == (2, 3)
    assert size_text(224) == "224" and size_text((112, 224)) == "112 x 224"
    for wrong in ([1, 2, 3], [0, 4], -1):
        with pytest.raises(ConfigError, match="crop_px = "):
            sides_of(wrong)
    for wrong_type in ("224", [1.5, 2], True):
        with pytest.raises(TypeError, match="crop_px = "):
            sides_of(wrong_type)  # type: ignore[arg-type]
