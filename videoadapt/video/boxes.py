"""Where training crops and erased rectangles lie: boxes drawn in a frame, as published code draws them."""

import math
import random
from typing import NamedTuple

from videoadapt.video.sides import CropPx, sides_of

Box = tuple[int, int, int, int]  # top, left, height, width

_SCALES = (1, 0.875, 0.75, 0.66)
_SNAP_PX = 3
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_ERASE_AREA = (0.02, 1 / 3)
_ERASE_ASPECT = (0.3, 1 / 0.3)


class EraseBox(NamedTuple):
    """A rectangle that is filled with noise in every frame once the clip is normalised (random erasing)."""

    top: int
    left: int
    height: int
    width: int
    seed: int


def multi_scale_boxes(height: int, width: int, crop_px: CropPx) -> list[list[Box]]:
    """Return AdaptFormer's candidate boxes in a frame: 10 sizes, each with the same 13 relative positions.

    Both sides are those of the largest box in the frame with the crop's aspect, for a square the frame's short side,
    x 1, 0.875, 0.75 or 0.66, at most one step apart. They become the crop's side when less than 3 pixels from it (unless
    that would leave the frame).
    """
    crop_height, crop_width = sides_of(crop_px)
    if height * crop_width <= width * crop_height:
        largest = height, height * crop_width // crop_height
    else:
        largest = width * crop_height // crop_width, width
    heights, widths = _scaled(largest[0], crop_height), _scaled(largest[1], crop_width)
    sizes = [(h, w) for i, h in enumerate(heights) for j, w in enumerate(widths) if abs(i - j) <= 1]
    # In quarters of the free space: corners, edge centres and the centre, then the four points half-way to the corners.
    quarters = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)] + [(y, x) for y in (1, 3) for x in (1, 3)]
    return [[(y * ((height - h) // 4), x * ((width - w) // 4), h, w) for y, x in quarters] for h, w in sizes]


def _scaled(side: int, crop_side: int) -> list[int]:
    found = [max(1, int(side * scale)) for scale in _SCALES]
    return [min(crop_side, side) if abs(one - crop_side) < _SNAP_PX else one for one in found]


def draw_resized_box(height: int, width: int, rng: random.Random, crop_px: CropPx = 1) -> Box:
    """Draw VideoMAE's random-resized box: area 8 % to 100 % of the frame, aspect 3/4 to 4/3 (log-uniform).

    The aspect is relative to the crop's, so that what a rectangle shows is stretched as much as in a square (torchvision's
    is that of the box itself, whatever it becomes). After ten draws that do not fit, the largest centred box whose aspect is
    within the range.
    """
    crop_height, crop_width = sides_of(crop_px)
    narrow, wide = (aspect * (crop_width / crop_height) for aspect in _ASPECT)
    for _ in range(10):
        h, w = _draw_sides(height * width, _AREA, (narrow, wide), rng)
        if 0 < h <= height and 0 < w <= width:
            return rng.randint(0, height - h), rng.randint(0, width - w), h, w
    h, w = max(1, min(height, round(width / narrow))), max(1, min(width, round(height * wide)))
    return (height - h) // 2, (width - w) // 2, h, w


def draw_clipped_box(height: int, width: int, rng: random.Random, crop_px: CropPx = 1) -> Box:
    """Draw MAE's box (its linear probe, and AdaptFormer's image code): as `draw_resized_box`, but drawn once.

    A side that is longer than the frame's is cut to it, so that of a square frame more boxes are large and off its aspect.
    """
    crop_height, crop_width = sides_of(crop_px)
    narrow, wide = (aspect * (crop_width / crop_height) for aspect in _ASPECT)
    drawn = _draw_sides(height * width, _AREA, (narrow, wide), rng)
    h, w = (max(1, min(side, frame)) for side, frame in zip(drawn, (height, width), strict=True))
    return rng.randint(0, height - h), rng.randint(0, width - w), h, w


def draw_erase_box(height: int, width: int, rng: random.Random) -> EraseBox | None:
    """Draw VideoMAE's erase box: area 2 % to 33 % of the crop, height over width 0.3 to 3.3 (log-uniform).

    None in the practically impossible case that a hundred draws do not fit.
    """
    for _ in range(100):
        h, w = _draw_sides(height * width, _ERASE_AREA, _ERASE_ASPECT, rng)
        if 0 < h < height and 0 < w < width:
            return EraseBox(rng.randint(0, height - h), rng.randint(0, width - w), h, w, rng.getrandbits(62))
    return None


def _draw_sides(
    area: int, fraction: tuple[float, float], aspect: tuple[float, float], rng: random.Random
) -> tuple[int, int]:
    target = area * rng.uniform(*fraction)
    ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
    return round(math.sqrt(target / ratio)), round(math.sqrt(target * ratio))
