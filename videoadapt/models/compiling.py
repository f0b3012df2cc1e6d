"""torch.compile for the transformer blocks of a model: faster steps, after a wait at the first one."""

from torch import nn

from videoadapt.models.backbones._layers import Block


def compile_blocks(model: nn.Module, backend: str = "inductor") -> None:
    """Let every block be compiled when it is first called; blocks that are alike share one graph.

    Clips of another size compile anew. Weights, names and files stay as they are.
    """
    for module in model.modules():
        if isinstance(module, Block):
            module.compile(dynamic=False, backend=backend)
