"""Clips to logits in a given precision: what training, testing, inference and the checks of an export share.

Shapes: B clips, T frames, H W pixels, K classes.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from videoadapt.video.transforms import normalise

Precision = Literal["auto", "fp32", "bf16", "fp16"]  # auto: runs/resolution.py puts another in its place
HALF_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


def forward(
    model: Callable[[Tensor], Tensor], clips_BCTHW: Tensor, precision: Precision, device: torch.device
) -> Tensor:
    """uint8 clips (B, 3, T, H, W) -> float32 logits (B, K) on `device`: moved, normalised and run through the model.

    `model` is on `device`, and maps normalised clips to (B, K); with `model.features` in its place (B, D) comes out.
    """
    clips_BCTHW = clips_BCTHW.to(device, non_blocking=True)
    return logits_of(model, normalise(clips_BCTHW, [None] * len(clips_BCTHW)), precision)


def logits_of(model: Callable[[Tensor], Tensor], clips_BCTHW: Tensor, precision: Precision) -> Tensor:
    """Normalised float clips (B, 3, T, H, W) -> float32 logits (B, K), under autocast in half precision."""
    with autocast(precision, clips_BCTHW.device):
        logits_BK: Tensor = model(clips_BCTHW)
    return logits_BK.float()


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which torch computes in bf16 or fp16 where that is safe; none for fp32. Raises ValueError for auto."""
    if precision == "auto":
        raise ValueError("precision = 'auto': only a run chooses; allowed here: fp32, bf16, fp16")
    dtype = HALF_PRECISION.get(precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()
