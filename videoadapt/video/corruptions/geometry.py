"""The camera turned, or something before it: the same for the whole film. The definitions are ours."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from videoadapt.video.corruptions._kinds import Frames, kind, whole_levels

GREY = 128


@kind(2, 4, 6, 8, 10)
def small_rotation(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """Turned by so many degrees, to a side that is drawn; outside the frame the picture is mirrored."""
    return _turned(frames_THWC, level * rng.choice([-1, 1]))


@kind(30, 60, 90, 135, 180, keeps_label=False)
def large_rotation(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """As `small_rotation`, by more degrees."""
    return _turned(frames_THWC, level * rng.choice([-1, 1]))


@kind(None, keeps_label=False)
def mirrored(frames_THWC: Frames, level: None, rng: np.random.Generator) -> Frames:
    """Left and right exchanged."""
    return frames_THWC[:, :, ::-1]


@kind(0.05, 0.1, 0.2, 0.3, 0.4)
def occlusion(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """A grey rectangle of the frame's shape over this share of it, at a place that is drawn."""
    _, height, width, _ = frames_THWC.shape
    tall, wide = (max(1, round(side * math.sqrt(level))) for side in (height, width))
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    covered = frames_THWC.copy()
    covered[:, top : top + tall, left : left + wide] = GREY
    return covered


def _turned(frames_THWC: Frames, degrees: float) -> Frames:
    """Around the middle, bilinear; all frames and channels at once, as their positions are the same."""
    num_frames, height, width, _ = frames_THWC.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # positions from -1 to 1 across each side
    matrix = torch.tensor([[[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]])
    grid = F.affine_grid(matrix, [1, 1, height, width], align_corners=False)
    planes = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2).float().reshape(1, -1, height, width)
    turned = F.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return whole_levels(turned.view(num_frames, 3, height, width).permute(0, 2, 3, 1).numpy() + 0.5)
