"""Random numbers that are a function of a seed and a position, the same on every device.

Shapes: B clips.
"""

import torch
from torch import Tensor


def uniform(seeds_B: Tensor, count: int, stream: int = 0) -> Tensor:
    """Return `count` float32 numbers in [0, 1) per int64 seed, (B, count): SplitMix64 of seed, stream and position.

    A hash needs no generator per clip and gives the same numbers on every device.
    """
    position = torch.arange(count, device=seeds_B.device) + stream * 2**20
    mixed = _splitmix64(_splitmix64(seeds_B)[:, None] + position * _signed(0x9E3779B97F4A7C15))
    return (mixed >> 40 & 0xFFFFFF).float() / 2**24


def _splitmix64(value: Tensor) -> Tensor:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014) on int64, whose products wrap like the unsigned ones."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        value = (value ^ (value >> shift & (1 << 64 - shift) - 1)) * _signed(factor)
    return value


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
