"""Makes corruptions.npz: what imagecorruptions 1.1.2 (Apache-2.0) does to a frame, a value of every 20 pixels kept.

It needs imagecorruptions, scikit-image 0.26 and opencv-python in an environment of their own: with NumPy 2 and SciPy 1.17 it
finds three names no more, which are put back here. What it draws comes from NumPy's Generator(7), as ours does.
"""

import sys
import types
from pathlib import Path

import numpy as np
import scipy.ndimage

NAMES = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "motion_blur", "fog", "brightness", "contrast", "pixelate"
)  # fmt: skip

np.float_ = np.float64
for name, holds in {
    "scipy.ndimage.interpolation": {"map_coordinates": scipy.ndimage.map_coordinates},
    "pkg_resources": {"resource_filename": lambda package, file: file},
}.items():
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(holds)

import imagecorruptions  # noqa: E402
import skimage.util  # noqa: E402

random_noise = skimage.util.random_noise
y, x = np.mgrid[0:40, 0:56]
frame_HWC = np.stack([x * 4, y * 6, (x + y) * 2], axis=2) + np.random.default_rng(1).integers(0, 30, (40, 56, 3))
frame_HWC[8:20, 10:30], frame_HWC[25:30, 40:50] = (250, 20, 60), 0
frame_HWC = frame_HWC.clip(0, 255).astype(np.uint8)


def corrupted(name: str, strength: int) -> np.ndarray:
    """What the library makes of the frame, of the same draws as ours."""
    rng = np.random.default_rng(7)
    np.random.normal, np.random.poisson, np.random.uniform = rng.normal, rng.poisson, rng.uniform
    skimage.util.random_noise = lambda *args, **named: random_noise(*args, rng=rng, **named)
    return imagecorruptions.corrupt(frame_HWC, corruption_name=name, severity=strength)


made = {name: np.stack([corrupted(name, strength)[::5, ::4] for strength in range(1, 6)]) for name in NAMES}
np.savez_compressed(Path(__file__).with_suffix(".npz"), frame_HWC=frame_HWC, **made)
