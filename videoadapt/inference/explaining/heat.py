"""How marks look: blue to red, the stronger the less is seen of the picture below.

Shapes: any leading ones, H W pixels.
"""

from functools import cache

import matplotlib as mpl
import numpy as np

STRONGEST = 0.65  # of the picture that the strongest mark hides


def colours(map_HW: np.ndarray) -> np.ndarray:
    """RGBA of a map between 0 and 1, uint8 (..., H, W, 4)."""
    levels = (255 * np.clip(map_HW, 0, 1)).astype(np.uint8)
    return _table()[levels]


def marked(frames_HWC: np.ndarray, maps_HW: np.ndarray) -> np.ndarray:
    """Frames, uint8 RGB (..., H, W, 3), with the colours of their maps over them."""
    over = colours(maps_HW).astype(np.uint16)
    alpha = over[..., 3:]
    return ((frames_HWC * (255 - alpha) + over[..., :3] * alpha + 127) // 255).astype(np.uint8)


@cache
def _table() -> np.ndarray:
    table_256x4 = mpl.colormaps["turbo"](np.arange(256), bytes=True)
    table_256x4[:, 3] = np.round(255 * STRONGEST * np.linspace(0, 1, 256))
    return np.asarray(table_256x4)
