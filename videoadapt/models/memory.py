"""What a model keeps in memory: of a pass, for the gradients, and of its weights, for inference in half precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from videoadapt.models.backbones._layers import QKVLinear, recomputed_in


def recompute_blocks(model: nn.Module) -> None:
    """Let training keep only what enters each block, and compute the block again for its gradients.

    Activation checkpointing (arXiv 1604.06174): the same numbers, up to half as much work again, a small part of the memory.
    """
    for block in recomputed_in(model):
        block.recompute = True


def hold_matrices_in(backbone: nn.Module, dtype: torch.dtype) -> None:
    """Keep in `dtype` what autocast would cast to it in every pass: the same numbers without casts, for inference only.

    Norms stay as they are: autocast computes them in float32.
    """
    for parameter in _matrices_and_biases(backbone):
        parameter.data = parameter.data.to(dtype)


@contextmanager
def matrices_held_in(backbone: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """`hold_matrices_in` during the block (None: nothing is done); the very tensors of before come back."""
    before = [(parameter, parameter.data) for parameter in _matrices_and_biases(backbone)]
    if dtype is not None:
        hold_matrices_in(backbone, dtype)
    try:
        yield
    finally:
        for parameter, data in before:
            parameter.data = data


def _matrices_and_biases(backbone: nn.Module) -> Iterator[nn.Parameter]:
    for module in backbone.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d | QKVLinear):
            yield from module.parameters()
