"""The size of a crop: one number for a square, or height and width."""

from collections.abc import Sequence

from videoadapt.errors import ConfigError, check_count

CropPx = int | Sequence[int]  # 224, or (height, width)


def sides_of(crop_px: CropPx, argument: str = "crop_px") -> tuple[int, int]:
    """Return height and width in pixels. Raises TypeError for no whole numbers, ConfigError for less than a pixel."""
    both = tuple(crop_px) if isinstance(crop_px, Sequence) and not isinstance(crop_px, str) else (crop_px, crop_px)
    if len(both) != 2:
        raise ConfigError(f"{argument} = {crop_px!r}: allowed: one number, or height and width")
    for side in both:
        check_count(argument, side)
    return both[0], both[1]


def size_text(crop_px: CropPx) -> str:
    """`224` for a square, else `112 x 224`."""
    height, width = sides_of(crop_px)
    return str(height) if height == width else f"{height} x {width}"
