"""torch.compile for the transformer blocks of a model: faster passes, after a wait at the first one.

Shapes: B clips.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from videoadapt.models.backbones._layers import PatchConv, TubeletConv, recomputed_in
from videoadapt.models.gelu import keep_slopes


def compile_blocks(model: nn.Module, backend: str = "inductor") -> None:
    """Let every block, and what makes tokens of patches, be compiled when first called; blocks that are alike share one graph.

    Clips of another size compile anew. Weights, names and files stay as they are.
    """
    keep_slopes(model)
    patches = [module for module in model.modules() if isinstance(module, PatchConv | TubeletConv)]
    for part in [*patches, *recomputed_in(model)]:
        part.compile(dynamic=False, backend=backend)


@contextmanager
def compiled_only_if(wanted: bool, model: nn.Module, backend: str = "inductor") -> Iterator[None]:
    """Run the blocks of `model` compiled in the block, or without torch.compile, whatever was done to them before or is after.

    So a test after a training computes what the same test alone does, and a training goes on after a validation as before.
    """
    before = [(module, module._compiled_call_impl) for module in model.modules()]
    if wanted:
        compile_blocks(model, backend)
    else:  # and not by a stance of torch.compiler, which would import the compiler
        for module, _ in before:
            module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, compiled in before:
            module._compiled_call_impl = compiled


def filled_up(function: Callable[[Tensor], Tensor], size: int) -> Callable[[Tensor], Tensor]:
    """`function` of B clips, called with `size` of them: a smaller last batch is filled up with zeros, and they are cut off.

    A compiled graph is for one size, and compiling another would take longer than the zeros do.
    """

    def call(clips_BCTHW: Tensor) -> Tensor:
        missing = size - len(clips_BCTHW)
        if missing > 0:
            zeros = clips_BCTHW.new_zeros(missing, *clips_BCTHW.shape[1:])
            return function(torch.cat([clips_BCTHW, zeros]))[:-missing]
        return function(clips_BCTHW)

    return call
