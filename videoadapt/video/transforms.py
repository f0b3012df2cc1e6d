"""From decoded uint8 frames to the pixels that a model sees: training augmentation, test views, normalising.

Clips stay uint8 until they are on the device, and one draw holds for all frames of a clip.
Shapes: B clips, C channels, T frames, H W pixels.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.video.letterbox import Letterbox
from videoadapt.video.resizing import resize_to_cover
from videoadapt.video.sides import CropPx, sides_of


class EraseBox(NamedTuple):
    """A rectangle that is filled with noise in every frame once the clip is normalised (random erasing)."""

    top: int
    left: int
    height: int
    width: int
    seed: int


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Crop = Literal["multi_scale", "random_resized", "random", "centre"]
Interpolation = Literal["bilinear", "bicubic"]
Box = tuple[int, int, int, int]  # top, left, height, width

_SCALES = (1, 0.875, 0.75, 0.66)
_SNAP_PX = 3
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_ERASE_AREA = (0.02, 1 / 3)
_ERASE_ASPECT = (0.3, 1 / 0.3)


class TrainTransform:
    """Training augmentation of one clip: augment the whole frames, crop and resize, flip, choose what to erase."""

    def __init__(
        self,
        *,
        crop_px: CropPx,
        crop: Crop,
        flip: float,
        erasing: float,
        interpolation: Interpolation = "bilinear",
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        letterbox: Letterbox | None = None,
    ):
        """`flip` and `erasing` are probabilities; `augment` maps whole frames (T, C, H, W) to frames of the same shape.

        `crop_px`: a square's side, or height and width. `crop`: "multi_scale" (AdaptFormer) resizes with antialias as PIL
        does, "random_resized" (VideoMAE) without, "random" and "centre" resize frames until they just cover the crop, as
        testing does, and cut it out anywhere along the longer rest, or in its middle. With
        `letterbox` these two keep whole frames, at a random size and place or as testing does, and the others are refused.
        Raises ConfigError naming every wrong value.
        """
        problems = [
            f"{key}: {value!r} is not allowed; use a probability from 0 to 1"
            for key, value in (("flip", flip), ("erasing", erasing))
            if not 0 <= value <= 1
        ]
        try:
            self.sides = sides_of(crop_px)
        except ConfigError as error:
            problems += error.problems
        if crop not in get_args(Crop):
            problems.append(f"crop: {crop!r} is not allowed; use one of {', '.join(get_args(Crop))}")
        if interpolation not in get_args(Interpolation):
            problems.append(f"interpolation: {interpolation!r} is not allowed; use bilinear or bicubic")
        elif crop in ("random", "centre") and interpolation != "bilinear":
            problems.append(f"interpolation: crop {crop!r} is always bilinear; leave it out or choose another crop")
        if letterbox is not None and crop in ("multi_scale", "random_resized"):
            problems.append(f"crop: {crop!r} cuts frames, which a letterbox keeps whole; use random or centre")
        if problems:
            raise ConfigError(problems)
        self.letterbox = letterbox
        self.crop, self.flip, self.erasing = crop, flip, erasing
        self.interpolation, self.augment = interpolation, augment

    def __call__(self, frames_THWC: Tensor, generator: torch.Generator) -> tuple[Tensor, EraseBox | None]:
        """Return the clip, uint8 (C, T, *sides), and the box to fill with noise in `normalise`, if any.

        Everything random comes from `generator`.
        """
        rng = _rng(generator)
        frames_TCHW = frames_THWC.permute(0, 3, 1, 2)
        if self.augment is not None:
            frames_TCHW = self.augment(frames_TCHW, generator)
        crop_TCHW = self._crop(frames_TCHW, rng)
        if rng.random() < self.flip:
            crop_TCHW = crop_TCHW.flip(-1)
        erase = draw_erase_box(*self.sides, rng) if rng.random() < self.erasing else None
        return crop_TCHW.transpose(0, 1).contiguous(), erase

    def _crop(self, frames_TCHW: Tensor, rng: random.Random) -> Tensor:
        if self.letterbox is not None and self.crop == "random":
            return self.letterbox.anywhere(frames_TCHW, self.sides, rng)
        if self.letterbox is not None:
            return self.letterbox.centred(frames_TCHW, self.sides)
        if self.crop == "centre":
            return view_crops(resize_to_cover(frames_TCHW, *self.sides), self.sides, 1)[0]
        if self.crop == "random":
            return _anywhere(resize_to_cover(frames_TCHW, *self.sides), self.sides, rng)
        height, width = frames_TCHW.shape[-2:]
        if self.crop == "multi_scale":
            boxes = multi_scale_boxes(height, width, self.sides)
            top, left, height, width = rng.choice(rng.choice(boxes))
        else:
            top, left, height, width = draw_resized_box(height, width, rng, self.sides)
        # Cutting out the box first means that only its pixels are ever resized.
        return F.interpolate(
            frames_TCHW[..., top : top + height, left : left + width],
            size=self.sides,
            mode=self.interpolation,
            antialias=self.crop == "multi_scale",
        )


def _rng(generator: torch.Generator) -> random.Random:
    # A scalar from Python's generator costs a twentieth of one from torch's, which only seeds it.
    return random.Random(int(torch.randint(2**62, (), generator=generator)))


def _anywhere(frames_TCHW: Tensor, sides: tuple[int, int], rng: random.Random) -> Tensor:
    top, left = (rng.randrange(frame - side + 1) for frame, side in zip(frames_TCHW.shape[-2:], sides, strict=True))
    return frames_TCHW[..., top : top + sides[0], left : left + sides[1]]


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


def view_crops(frames_TCHW: Tensor, crop_px: CropPx, num_crops: int) -> list[Tensor]:
    """Return `num_crops` views (T, C, *sides) spread along the longer rest; one crop is the centre.

    The rests are what the frame has beside the crop, down and across. Crop j starts at int(j * rest / (num_crops - 1))
    (both references) and is centred along the shorter rest. The views share memory with the frames. Raises ConfigError when
    a crop does not fit or there is none.
    """
    sides = sides_of(crop_px)
    height, width = frames_TCHW.shape[-2:]
    if num_crops < 1:
        raise ConfigError(f"num_crops: {num_crops} is not allowed; use 1 or more")
    rest_down, rest_across = height - sides[0], width - sides[1]
    if min(rest_down, rest_across) < 0:
        raise ConfigError(
            f"crop_px: {crop_px} does not fit frames of {height} x {width} pixels; use at most their sides"
        )
    rest, centred = max(rest_down, rest_across), min(rest_down, rest_across) // 2
    starts = [rest // 2] if num_crops == 1 else [int(j * (rest / (num_crops - 1))) for j in range(num_crops)]
    corners = [(start, centred) if rest_down >= rest_across else (centred, start) for start in starts]
    return [frames_TCHW[..., top : top + sides[0], left : left + sides[1]] for top, left in corners]


def normalise(
    clips_BCTHW: Tensor,
    erase: Sequence[EraseBox | None],
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Return float32 (grey level / 255 - mean) / std on the clips' device, erase boxes filled with noise.

    `clips_BCTHW` holds grey levels 0-255, uint8 or float; it is not changed. The noise is N(0, 1), another value for
    each channel, frame and pixel, drawn on the CPU from the box's seed, so that every device sees the same.
    Raises ValueError unless there is one box, or None, per clip.
    """
    if len(erase) != len(clips_BCTHW):
        raise ValueError(f"{len(clips_BCTHW)} clips, but {len(erase)} erase boxes (use None for a clip without)")
    device = clips_BCTHW.device  # non_blocking: whoever normalises does not wait for what the device still has to do
    shift, scale = (torch.tensor(v).view(-1, 1, 1, 1) for v in (mean, std))
    if device.type == "cuda":  # in one pass over the pixels, not four: another last bit
        factor, offset = (
            (1 / (255 * scale)).to(device, non_blocking=True),
            (-shift / scale).to(device, non_blocking=True),
        )
        out_BCTHW = torch.addcmul(offset, clips_BCTHW, factor)
    else:
        out_BCTHW = clips_BCTHW.to(torch.float32, copy=True).div_(255).sub_(shift).div_(scale)
    for clip_CTHW, box in zip(out_BCTHW, erase, strict=True):
        if box is not None:
            generator = torch.Generator().manual_seed(box.seed)
            noise = torch.randn(*clip_CTHW.shape[:2], box.height, box.width, generator=generator)
            rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
            clip_CTHW[..., rows, columns] = noise.to(device, non_blocking=True)
    return out_BCTHW
