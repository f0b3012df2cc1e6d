"""From decoded uint8 frames to the pixels that a model sees: training augmentation, test views, normalising.

Clips stay uint8 until they are on the device, and one draw holds for all frames of a clip.
Shapes: B clips, C channels, T frames, H W pixels.
"""

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.video.bicubic import Bicubic
from videoadapt.video.boxes import Box, EraseBox, draw_clipped_box, draw_erase_box, draw_resized_box, multi_scale_boxes
from videoadapt.video.letterbox import Letterbox
from videoadapt.video.resizing import covering_size, resize_to_cover
from videoadapt.video.sides import CropPx, sides_of
from videoadapt.weights.normalisation import IMAGENET

IMAGENET_MEAN, IMAGENET_STD = IMAGENET

Crop = Literal["multi_scale", "random_resized", "random_clipped", "random", "centre"]
Interpolation = Literal["bilinear", "bicubic"]


class Cut(NamedTuple):
    """Where a training clip lies in its frames: a box of them, resized to `size`, from whose `corner` on the crop is cut."""

    box: Box
    size: tuple[int, int]  # height, width
    corner: tuple[int, int] = (0, 0)  # top, left


class Drawn(NamedTuple):
    """What is drawn for a clip: where it lies, whether it is mirrored, and what `normalise` fills with noise."""

    cut: Cut
    flip: bool
    erase: EraseBox | None


class TrainTransform:
    """Training augmentation of one clip: augment the whole frames, crop and resize, flip, add noise, choose what to erase."""

    def __init__(
        self,
        *,
        crop_px: CropPx,
        crop: Crop,
        flip: float,
        erasing: float,
        noise: float = 0.0,
        interpolation: Interpolation = "bilinear",
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        fit: Letterbox | Bicubic | None = None,
    ):
        """`flip` and `erasing` are probabilities; `augment` maps whole frames (T, C, H, W) to frames of the same shape.

        `noise`: the largest standard deviation, in grey levels, of the Gaussian noise that is added. Each clip draws its own,
        uniformly from 0 (Gaussian noise training: Rusak et al. 2020, arXiv 2001.06057).
        `crop_px`: a square's side, or height and width. `crop`: "multi_scale" (AdaptFormer) resizes with antialias as PIL
        does, "random_resized" (VideoMAE) and "random_clipped" (MAE) without, "random" and "centre" resize frames until they
        just cover the crop, as testing does, and cut it out anywhere along the longer rest, or in its middle. To `fit` a
        letterbox these two keep whole frames, at a random size and place or as testing does, and the others are refused; a
        Bicubic resizes for all of them.
        Raises ConfigError naming every wrong value.
        """
        problems = [
            f"{key}: {value!r} is not allowed; use a probability from 0 to 1"
            for key, value in (("flip", flip), ("erasing", erasing))
            if not 0 <= value <= 1
        ]
        if not 0 <= noise <= 255:
            problems.append(f"noise: {noise!r} is not allowed; use grey levels from 0 (none) to 255")
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
        if isinstance(fit, Letterbox) and crop not in ("random", "centre"):
            problems.append(f"crop: {crop!r} cuts frames, which a letterbox keeps whole; use random or centre")
        if problems:
            raise ConfigError(problems)
        self.fit = fit
        self.crop, self.flip, self.erasing, self.noise = crop, flip, erasing, noise
        self.interpolation, self.augment = interpolation, augment

    def __call__(self, frames_THWC: Tensor, generator: torch.Generator) -> tuple[Tensor, EraseBox | None]:
        """Return the clip, uint8 (C, T, *sides), and the box to fill with noise in `normalise`, if any.

        Everything random comes from `generator`.
        """
        rng = _rng(generator)
        frames_TCHW = frames_THWC.permute(0, 3, 1, 2)
        if self.augment is not None:
            frames_TCHW = self.augment(frames_TCHW, generator)
        if self.fit is not None and self.crop == "random":
            crop_TCHW = self.fit.anywhere(frames_TCHW, self.sides, rng)
        elif self.fit is not None and self.crop == "centre":
            crop_TCHW = self.fit.centred(frames_TCHW, self.sides)
        else:
            height, width = frames_TCHW.shape[-2:]
            crop_TCHW = self._cut_out(frames_TCHW, self._draw_cut(height, width, rng))
        flip, noise, erase = self._draw_rest(rng)
        if flip:
            crop_TCHW = crop_TCHW.flip(-1)
        if self.noise:
            crop_TCHW = _noisy(crop_TCHW, noise, generator)
        return crop_TCHW.transpose(0, 1).contiguous(), erase

    def draw(self, height: int, width: int, generator: torch.Generator) -> Drawn:
        """What a call draws for frames of this size, where there is no `augment`, `fit` or `noise`."""
        rng = _rng(generator)
        cut, (flip, _, erase) = self._draw_cut(height, width, rng), self._draw_rest(rng)
        return Drawn(cut, flip, erase)

    def made(self, frames_THWC: Tensor, drawn: Drawn) -> Tensor:
        """The clip that a call returns for these frames when it draws this."""
        crop_TCHW = self._cut_out(frames_THWC.permute(0, 3, 1, 2), drawn.cut)
        return (crop_TCHW.flip(-1) if drawn.flip else crop_TCHW).transpose(0, 1).contiguous()

    @property
    def antialias(self) -> bool:
        """Whether boxes are resized with antialias."""
        return self.crop == "multi_scale"

    def _draw_rest(self, rng: random.Random) -> tuple[bool, float, EraseBox | None]:
        """Whether to mirror, the noise's deviation, and what to erase."""
        flip = rng.random() < self.flip
        noise = rng.uniform(0, self.noise) if self.noise else 0.0
        return flip, noise, draw_erase_box(*self.sides, rng) if rng.random() < self.erasing else None

    def _draw_cut(self, height: int, width: int, rng: random.Random) -> Cut:
        if self.crop in ("random", "centre"):
            whole, size = (0, 0, height, width), covering_size(height, width, *self.sides)
            if self.crop == "centre":
                return Cut(whole, size, crop_corners(*size, self.sides, 1)[0])
            down, across = (rng.randrange(frame - side + 1) for frame, side in zip(size, self.sides, strict=True))
            return Cut(whole, size, (down, across))
        if self.crop == "multi_scale":
            boxes = multi_scale_boxes(height, width, self.sides)
            return Cut(rng.choice(rng.choice(boxes)), self.sides)
        draw = draw_clipped_box if self.crop == "random_clipped" else draw_resized_box
        return Cut(draw(height, width, rng, self.sides), self.sides)

    def _cut_out(self, frames_TCHW: Tensor, cut: Cut) -> Tensor:
        if self.crop in ("random", "centre"):
            (top, left), (height, width) = cut.corner, self.sides
            return resize_to_cover(frames_TCHW, *self.sides)[..., top : top + height, left : left + width]
        top, left, height, width = cut.box
        # Cutting out the box first means that only its pixels are ever resized.
        box_TCHW = frames_TCHW[..., top : top + height, left : left + width]
        if isinstance(self.fit, Bicubic):
            return self.fit.resized(box_TCHW, self.sides)
        return F.interpolate(box_TCHW, size=self.sides, mode=self.interpolation, antialias=self.antialias)


def _noisy(frames_TCHW: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Normal noise of this deviation in grey levels, new for each value, rounded and clipped as a camera does."""
    noise_TCHW = torch.randn(frames_TCHW.shape, generator=generator).mul_(deviation)
    return noise_TCHW.add_(frames_TCHW).round_().clamp_(0, 255).to(torch.uint8)


def _rng(generator: torch.Generator) -> random.Random:
    # A scalar from Python's generator costs a twentieth of one from torch's, which only seeds it.
    return random.Random(int(torch.randint(2**62, (), generator=generator)))


def view_crops(frames_TCHW: Tensor, crop_px: CropPx, num_crops: int) -> list[Tensor]:
    """Return `num_crops` views (T, C, *sides) spread along the longer rest; one crop is the centre.

    The rests are what the frame has beside the crop, down and across. Crop j starts at int(j * rest / (num_crops - 1))
    (both references) and is centred along the shorter rest. The views share memory with the frames. Raises ConfigError when
    a crop does not fit or there is none.
    """
    sides = sides_of(crop_px)
    height, width = frames_TCHW.shape[-2:]
    corners = crop_corners(height, width, crop_px, num_crops)
    return [frames_TCHW[..., top : top + sides[0], left : left + sides[1]] for top, left in corners]


def crop_corners(height: int, width: int, crop_px: CropPx, num_crops: int) -> list[tuple[int, int]]:
    """Where the crops of `view_crops` begin in frames of this size: (top, left) each. Raises ConfigError where none fits."""
    sides = sides_of(crop_px)
    if num_crops < 1:
        raise ConfigError(f"num_crops: {num_crops} is not allowed; use 1 or more")
    rest_down, rest_across = height - sides[0], width - sides[1]
    if min(rest_down, rest_across) < 0:
        raise ConfigError(
            f"crop_px: {crop_px} does not fit frames of {height} x {width} pixels; use at most their sides"
        )
    rest, centred = max(rest_down, rest_across), min(rest_down, rest_across) // 2
    starts = [rest // 2] if num_crops == 1 else [int(j * (rest / (num_crops - 1))) for j in range(num_crops)]
    return [(start, centred) if rest_down >= rest_across else (centred, start) for start in starts]


def normalise(
    clips_BCTHW: Tensor,
    erase: Sequence[EraseBox | None],
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    *,
    compiled: bool = False,
) -> Tensor:
    """Return float32 (grey level / 255 - mean) / std on the clips' device, erase boxes filled with noise.

    `clips_BCTHW` holds grey levels 0-255, uint8 or float; it is not changed. The noise is N(0, 1), another value for
    each channel, frame and pixel, drawn on the CPU from the box's seed, so that every device sees the same. `compiled` is for
    who compiles anyway: the same on a GPU in a quarter of the time.
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
        out_BCTHW = (_compiled() if compiled else torch.addcmul)(offset, clips_BCTHW, factor)
    else:
        out_BCTHW = clips_BCTHW.to(torch.float32, copy=True).div_(255).sub_(shift).div_(scale)
    for clip_CTHW, box in zip(out_BCTHW, erase, strict=True):
        if box is not None:
            generator = torch.Generator().manual_seed(box.seed)
            noise = torch.randn(*clip_CTHW.shape[:2], box.height, box.width, generator=generator)
            rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
            clip_CTHW[..., rows, columns] = noise.to(device, non_blocking=True)
    return out_BCTHW


@cache
def _compiled() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """torch.addcmul of these shapes, for which PyTorch has no kernel that reads and writes more than a number at a time."""
    return torch.compile(lambda offset, clips, factor: torch.addcmul(offset, clips, factor))
