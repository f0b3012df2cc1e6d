"""uint8 clips to logits, in the precision of the run."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from videoadapt.config.schema import Config
from videoadapt.video.transforms import EraseBox, normalise

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def forward(
    model: Callable[[Tensor], Tensor],
    config: Config,
    device: torch.device,
    clips_BCTHW: Tensor,
    erase: Sequence[EraseBox | None] = (),
) -> Tensor:
    """uint8 clips (B, 3, T, H, W) -> float32 logits (B, K): moved, normalised and run in the run's precision."""
    clips_BCTHW = normalise(clips_BCTHW.to(device, non_blocking=True), erase or [None] * len(clips_BCTHW))
    return logits_of(model, config, device, clips_BCTHW)


def logits_of(model: Callable[[Tensor], Tensor], config: Config, device: torch.device, clips_BCTHW: Tensor) -> Tensor:
    """Normalised float clips -> float32 logits, under autocast where the config asks for half precision."""
    with autocast(config, device):
        logits_BK: Tensor = model(clips_BCTHW)
    return logits_BK.float()


def autocast(config: Config, device: torch.device) -> AbstractContextManager[Any]:
    """The precision that `train.precision` asks for."""
    dtype = PRECISIONS.get(config.train.precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()
