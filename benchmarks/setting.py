"""What a benchmark of the model measures, and the clips that it measures with.

Shapes: B clips.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from videoadapt.runs.forward import Precision
from videoadapt.video.sides import CropPx, sides_of

Mode = Literal["train", "infer"]
NUM_CLASSES = 174  # Something-Something v2


@dataclass(frozen=True)
class Setting:
    """What is measured; `adapter` is a spec as in a yaml."""

    mode: Mode
    backbone: dict[str, Any]
    adapter: dict[str, Any]
    batch: int
    num_frames: int
    crop_px: CropPx
    precision: Precision
    compiled: bool
    recompute: bool = False


def clips_and_labels(setting: Setting, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return uint8 clips (B, 3, T, H, W) and labels (B,) on the device, the same each time."""
    shape = setting.batch, 3, setting.num_frames, *sides_of(setting.crop_px)
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return clips.to(device), torch.randint(NUM_CLASSES, (setting.batch,), generator=generator).to(device)
