"""Clips as they come, normalised with ImageNet's mean and deviation, as the weights of a backbone were trained to see them."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from videoadapt.weights.normalisation import IMAGENET, RGB, Normalisation

Deviation = Annotated[float, Gt(0)]


class Pixels(nn.Module):
    """Normalises clips (B, 3, T, H, W) with another mean and deviation; those that are None are ImageNet's."""

    factor: Tensor
    offset: Tensor

    def __init__(self, mean: RGB | None, std: RGB | None):
        super().__init__()
        self.wanted = Normalisation(mean or IMAGENET.mean, std or IMAGENET.std)
        # in Python: arithmetic of tensors without numbers, of which checks build a model, imports torch's compiler
        colours = list(zip(*IMAGENET, *self.wanted, strict=True))
        factors = [std / to_std for _, std, _, to_std in colours]
        offsets = [(mean - to_mean) / to_std for mean, _, to_mean, to_std in colours]
        self.register_buffer("factor", torch.tensor(factors).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("offset", torch.tensor(offsets).view(3, 1, 1, 1), persistent=False)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the clips; the same ones where ImageNet's is asked for."""
        return clip_BCTHW if self.wanted == IMAGENET else clip_BCTHW * self.factor + self.offset
