"""Clips as they come, normalised with ImageNet's mean and deviation, as the weights of a backbone were trained to see them."""

import torch
from torch import Tensor, nn

from videoadapt.weights.normalisation import IMAGENET, RGB, Normalisation


class Pixels(nn.Module):
    """Normalises clips (B, 3, T, H, W) with another mean and deviation; those that are None are ImageNet's."""

    factor: Tensor
    offset: Tensor

    def __init__(self, mean: RGB | None, std: RGB | None):
        super().__init__()
        self.wanted = Normalisation(mean or IMAGENET.mean, std or IMAGENET.std)
        come, wanted = (torch.tensor(part, dtype=torch.float64).view(2, 3, 1, 1, 1) for part in (IMAGENET, self.wanted))
        self.register_buffer("factor", (come[1] / wanted[1]).float(), persistent=False)
        self.register_buffer("offset", ((come[0] - wanted[0]) / wanted[1]).float(), persistent=False)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the clips; the same ones where ImageNet's is asked for."""
        return clip_BCTHW if self.wanted == IMAGENET else clip_BCTHW * self.factor + self.offset
