"""torch.compile: one graph for all blocks that are alike, and the same numbers as without it."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from videoadapt.models.backbones.vit import ViT
from videoadapt.models.compiling import compile_blocks


def deep_vit(drop_path: float) -> ViT:
    """More blocks than the eight graphs after which torch.compile gives up."""
    torch.manual_seed(0)
    return ViT(size="tiny", width=32, depth=12, num_heads=2, drop_path=drop_path)


@pytest.mark.parametrize(("drop_path", "graphs"), [(0.0, 1), (0.2, 2)])  # the first block drops nothing
def test_blocks_alike_share_one_graph(drop_path: float, graphs: int) -> None:
    torch.compiler.reset()
    counter = CompileCounterWithBackend("eager")
    model = deep_vit(drop_path).train()
    compile_blocks(model, backend=counter)
    for _ in range(2):
        model(torch.randn(2, 3, 4, 32, 32)).sum().backward()
    assert counter.frame_count == graphs


def test_compiled_blocks_give_the_same_gradients() -> None:
    torch.compiler.reset()
    plain, compiled = deep_vit(0.2).train(), deep_vit(0.2).train()
    compile_blocks(compiled, backend="aot_eager")
    clip_BCTHW = torch.randn(2, 3, 4, 32, 32)
    for model in (plain, compiled):
        torch.manual_seed(1)  # which branches are dropped
        model(clip_BCTHW).sum().backward()
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)  # another order of the same sums
