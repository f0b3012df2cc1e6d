"""A model divided among processes (FSDP2): each keeps a part of every parameter, its gradient and the optimizer's moments.

Each block is put together where a pass needs it, and taken apart after it. Files hold whole tensors, as without it.
"""

import copy
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from videoadapt.models.backbones._layers import blocks_of


def divided_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """Move the model to main memory and return its copy on `device`, of which each process of the group has a part.

    It is divided block by block, and what is outside the blocks together.
    """
    from torch.distributed.device_mesh import init_device_mesh  # half a second to import, for those who use it
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    divided = copy.deepcopy(model.to("cpu"))
    for block in blocks_of(divided):
        fully_shard(block, mesh=mesh)
    fully_shard(divided, mesh=mesh)
    return divided


def exchange_gradients(model: nn.Module, now: bool) -> None:
    """Let the backward passes that follow exchange gradients, or only add them up in each process."""
    for part in _parts(model):
        part.set_requires_gradient_sync(now, recurse=False)


def is_divided(model: nn.Module) -> bool:
    """Whether the model is a `divided_copy`."""
    return bool(_parts(model))


def whole(state: Any) -> Any:
    """Return the nested `state` with whole tensors, on the CPU, in the place of divided ones; all processes call it."""
    return tree_map(lambda value: value.full_tensor().cpu() if _is_part(value) else value, state)


def part_of(tensor: Tensor, like: Any) -> Tensor:
    """Return this process's part of a whole `tensor`, divided as `like` is; where that is whole, the tensor itself."""
    if not _is_part(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _parts(model: nn.Module) -> list[Any]:
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return [module for module in model.modules() if isinstance(module, fsdp.FSDPModule)] if fsdp else []


def _is_part(value: Any) -> bool:
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(value, tensors.DTensor)
