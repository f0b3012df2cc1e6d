"""The operations of RandAugment on whole uint8 clips, with the pixels of PIL (see `_affine` and `_blend`).

Shapes: T frames, C channels, H W pixels; a level is magnitude / 10.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Fill = tuple[int, int, int]  # red, green, blue
Row = tuple[float, float, float]


class Operation(NamedTuple):
    """How a level (0 to 1) and a sign become an argument, and what the argument does to planar uint8 frames."""

    argument: Callable[[float, int], float]
    apply: Callable[[Tensor, Any, Fill], Tensor]


def _none(level: float, sign: int) -> float:
    return 0.0


def _signed(largest: float) -> Callable[[float, int], float]:
    return lambda level, sign: sign * level * largest


def _enhance_factor(level: float, sign: int) -> float:
    return max(0.1, 1.0 + sign * level * 0.9)


def _auto_contrast(frames: Tensor, argument: float, fill: Fill) -> Tensor:
    """Stretch every frame's channels to 0-255 by a table in double precision, cut off to whole grey levels."""
    flat = frames.flatten(0, 1).flatten(1)
    low, high = flat.amin(dim=1, keepdim=True).double(), flat.amax(dim=1, keepdim=True).double()
    levels = torch.arange(256, dtype=torch.float64)
    scale = torch.full_like(low, 255) / (high - low)  # 255 / tensor would be 255 * reciprocal: a digit apart
    table = torch.where(high > low, levels * scale - low * scale, levels).clamp_(0, 255).to(torch.uint8)
    return table.gather(1, flat.long()).view_as(frames)


def _equalize(frames: Tensor, argument: float, fill: Fill) -> Tensor:
    """Spread every frame's channels evenly over 0-255, by PIL's table of whole numbers from their histogram."""
    flat = frames.flatten(0, 1).flatten(1)
    index = flat.long()
    counts = torch.zeros(len(flat), 256, dtype=torch.int32)
    counts.scatter_add_(1, index, torch.ones(1, dtype=torch.int32).expand_as(index))
    darker = counts.cumsum(dim=1) - counts
    brightest = counts.gather(1, flat.amax(dim=1, keepdim=True).long())
    step = (flat.shape[1] - brightest) // 255
    table = ((darker + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    table = torch.where(step > 0, table, torch.arange(256)).to(torch.uint8)  # too few pixels: left as they are
    return table.gather(1, index).view_as(frames)


def _invert(frames: Tensor, argument: float, fill: Fill) -> Tensor:
    return ~frames


def _solarize(frames: Tensor, threshold: int, fill: Fill) -> Tensor:
    # 255 - x is x with every bit turned. A threshold of 256, which uint8 cannot hold, turns none.
    return frames if threshold > 255 else (frames >= threshold).to(torch.uint8).mul_(255).bitwise_xor_(frames)


def _solarize_add(frames: Tensor, add: int, fill: Fill) -> Tensor:
    return (frames < 128).to(torch.uint8).mul_(add).add_(frames)  # at most 127 + 110


def _posterize(frames: Tensor, bits: int, fill: Fill) -> Tensor:
    # 0 bits, which only magnitude 10 asks for, is black; PIL has refused it since version 13.
    return frames & (256 - 2 ** (8 - bits)) % 256


def _luma(frames: Tensor) -> Tensor:
    """PIL's conversion to grey, int32 (T, 1, H, W): ITU-R 601 weights in 1/65536, rounded."""
    red, green, blue = frames.int().split(1, dim=1)
    return red.mul_(19595).add_(green.mul_(38470)).add_(blue.mul_(7471)).add_(32768) >> 16


def _blend(frames: Tensor, other: Tensor | float, factor: float) -> Tensor:
    """PIL's enhancement: other + factor * (frames - other), cut off to whole grey levels."""
    return frames.float().sub_(other).mul_(factor).add_(other).clamp_(0, 255).to(torch.uint8)


def _colour(frames: Tensor, factor: float, fill: Fill) -> Tensor:
    return _blend(frames, _luma(frames), factor)


def _contrast(frames: Tensor, factor: float, fill: Fill) -> Tensor:
    mean = _luma(frames).double().mean(dim=(1, 2, 3), keepdim=True)  # one per frame, as PIL would
    return _blend(frames, mean.add_(0.5).floor_().float(), factor)


def _brightness(frames: Tensor, factor: float, fill: Fill) -> Tensor:
    return _blend(frames, 0.0, factor)


def _sharpness(frames: Tensor, factor: float, fill: Fill) -> Tensor:
    """Blend with PIL's SMOOTH filter, (3 x 3 box + 4 x centre) / 13 rounded; the outermost pixels stay as they are."""
    wide = frames.short()
    box = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    box = box[..., :-2] + box[..., 1:-1] + box[..., 2:]
    smooth = frames.float()
    smooth[..., 1:-1, 1:-1] = box.add_(wide[..., 1:-1, 1:-1], alpha=4).float().div_(13).round_()
    return _blend(frames, smooth, factor)


def _rotate(frames: Tensor, degrees: float, fill: Fill) -> Tensor:
    height, width = frames.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return _affine(frames, ((cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y)), fill)


def _shear_x(frames: Tensor, factor: float, fill: Fill) -> Tensor:
    return _affine(frames, ((1, factor, 0), (0, 1, 0)), fill)


def _shear_y(frames: Tensor, factor: float, fill: Fill) -> Tensor:
    return _affine(frames, ((1, 0, 0), (factor, 1, 0)), fill)


def _translate_x(frames: Tensor, fraction: float, fill: Fill) -> Tensor:
    return _affine(frames, ((1, 0, fraction * frames.shape[-1]), (0, 1, 0)), fill)


def _translate_y(frames: Tensor, fraction: float, fill: Fill) -> Tensor:
    return _affine(frames, ((1, 0, 0), (0, 1, fraction * frames.shape[-2])), fill)


def _affine(frames: Tensor, matrix: tuple[Row, Row], fill: Fill) -> Tensor:
    """Resample at x' = a x + b y + c, y' = d x + e y + f with PIL's bicubic kernel (a = -1, cut off, not rounded).

    torch's grid_sample has another kernel (a = -0.75). The weighted sum over the pixels that a position reads is an
    embedding bag: position by position for all frames and channels at once, several times faster than grid_sample.
    """
    height, width = frames.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = (a * x.double().flatten() + b * y.double().flatten() + c for a, b, c in matrix)
    rows, columns = _bicubic_taps(y - 0.5, height), _bicubic_taps(x - 0.5, width)
    source = torch.stack([row * width + column for row, _ in rows for column, _ in columns], dim=1)
    weights = torch.stack([weight * w for _, weight in rows for _, w in columns], dim=1)
    pixels = frames.reshape(-1, height * width).float().t().contiguous()
    moved = F.embedding_bag(source, pixels, mode="sum", per_sample_weights=weights.float())
    # The hair is for sums such as 99.99999 that double precision, which PIL uses, would hold as 100.
    moved = moved.add_(1e-3).clamp_(0, 255).to(torch.uint8)
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    moved[outside] = torch.tensor(fill, dtype=torch.uint8).repeat(len(frames))
    return moved.t().reshape(frames.shape)


def _bicubic_taps(position: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The up to four pixels along one axis that a position reads, clamped to the edge, each with its weight."""
    first = position.floor()
    d = position - first
    weights = (-d + 2 * d**2 - d**3, 1 - 2 * d**2 + d**3, d + d**2 - d**3, d**3 - d**2)
    taps = [((first + k - 1).clamp_(0, size - 1).long(), weight) for k, weight in enumerate(weights)]
    return [(index, weight) for index, weight in taps if weight.any()]


OPERATIONS = {
    "AutoContrast": Operation(_none, _auto_contrast),
    "Equalize": Operation(_none, _equalize),
    "Invert": Operation(_none, _invert),
    "Rotate": Operation(_signed(30), _rotate),
    "PosterizeIncreasing": Operation(lambda level, sign: 4 - int(level * 4), _posterize),
    "SolarizeIncreasing": Operation(lambda level, sign: 256 - int(level * 256), _solarize),
    "SolarizeAdd": Operation(lambda level, sign: int(level * 110), _solarize_add),
    "ColorIncreasing": Operation(_enhance_factor, _colour),
    "ContrastIncreasing": Operation(_enhance_factor, _contrast),
    "BrightnessIncreasing": Operation(_enhance_factor, _brightness),
    "SharpnessIncreasing": Operation(_enhance_factor, _sharpness),
    "ShearX": Operation(_signed(0.3), _shear_x),
    "ShearY": Operation(_signed(0.3), _shear_y),
    "TranslateXRel": Operation(_signed(0.45), _translate_x),
    "TranslateYRel": Operation(_signed(0.45), _translate_y),
}
