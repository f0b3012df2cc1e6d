"""Learned positions in time, for what looks across frames and could not tell their order otherwise.

Shapes: T times of a clip, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TimePositions(nn.Module):
    """A learned vector for each of `num_times` times, zero at first. Clips of another length read between them, linearly."""

    def __init__(self, num_times: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_times, width))

    def forward(self, times: int) -> Tensor:
        """Return (T, D) for a clip of that many times."""
        if times == len(self.weight):
            return self.weight
        return F.interpolate(self.weight.T[None], times, mode="linear", align_corners=False)[0].T
