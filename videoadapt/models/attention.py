"""Attention of queries, keys and values in one tensor, as the layer that makes them leaves them.

A training on a Hopper GPU, and an attack, call the kernels of FlashAttention-3 (arXiv 2407.08608) where they are installed:
they can write the three gradients into one tensor, as that layer needs them. Everywhere else PyTorch's attention is called;
predictions are thus the same with them and without.

Shapes: B clips, N tokens, h heads, d width of one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt import logger

_PACKAGES = ("flash_attn_3", "xformers.flash_attn_3")  # its own, and the copy in xformers 0.0.34
_HOPPER = (9, 0)
_LEAST_TOKENS = 192  # with fewer nothing was measured
_SHORT = 256  # with 197, as of an image, they take twice as long forwards as cuDNN's, and less backwards
_by_pytorch = False


def attended(qkv_BN3hd: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v of every head, (B, N, h d), of q, k and v stacked, (B, N, 3, h, d)."""
    if _flash3_takes(qkv_BN3hd):
        attended_BNhd, _ = _flash3(qkv_BN3hd)
        return attended_BNhd.flatten(2)
    q, k, v = (part_BNhd.transpose(1, 2) for part_BNhd in qkv_BN3hd.unbind(2))
    # taken apart in this order, so that the gradients lie as q, k and v do
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@contextmanager
def by_pytorch() -> Iterator[None]:
    """Have PyTorch's attention called in the block, so that its calls can be seen."""
    global _by_pytorch
    before, _by_pytorch = _by_pytorch, True
    try:
        yield
    finally:
        _by_pytorch = before


def _flash3_takes(qkv_BN3hd: Tensor) -> bool:
    tokens, width = qkv_BN3hd.shape[1], qkv_BN3hd.shape[-1]
    return (
        qkv_BN3hd.is_cuda
        and torch.is_grad_enabled()
        and qkv_BN3hd.requires_grad
        and not _by_pytorch
        and qkv_BN3hd.dtype in (torch.bfloat16, torch.float16)
        and tokens >= _LEAST_TOKENS
        and width % 8 == 0
        and width <= (256 if tokens >= _SHORT else 128)  # cuDNN's takes no more
        and _has_flash3(qkv_BN3hd.device.index)
    )


def _has_flash3(gpu: int) -> bool:
    return torch.cuda.get_device_capability(gpu) == _HOPPER and flash3_loaded()


# What torch.compiler.assume_constant_result does, which imports the compiler, two seconds for who does not compile.
_has_flash3._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def flash3_loaded() -> bool:
    """Load the kernels where a package has them, and say so. One that is there, and cannot be loaded, is named."""
    for package in _PACKAGES:
        module = f"{package}._C"
        try:
            import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, a training can do without
            is_absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
            if not is_absent:
                logger.warning(
                    "%s is installed, and cannot be loaded (%s): PyTorch's attention is taken", package, error
                )
            continue
        logger.info("attention by the kernels of FlashAttention-3 in %s", package)
        return True
    return False


@torch.library.custom_op("videoadapt::flash3", mutates_args=(), device_types="cuda")
def _flash3(qkv_BN3hd: Tensor) -> tuple[Tensor, Tensor]:
    """The attention (B, N, h, d), and the logarithms of the softmax's sums (B, h, N), which its gradient needs."""
    q, k, v = qkv_BN3hd.unbind(2)
    if q.shape[1] >= _SHORT:
        attended_BNhd, sums_BhN, *_ = torch.ops.flash_attn_3.fwd(q, k, v, num_splits=1)
        return attended_BNhd, sums_BhN
    heads_first = (part_BNhd.transpose(1, 2) for part_BNhd in (q, k, v))
    attended_BhNd, sums_BhN1, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(*heads_first, None, True)
    return attended_BhNd.transpose(1, 2).contiguous(), sums_BhN1.reshape(sums_BhN1.shape[:3]).contiguous()


@_flash3.register_fake
def _(qkv_BN3hd: Tensor) -> tuple[Tensor, Tensor]:
    batch, tokens, _, heads, width = qkv_BN3hd.shape
    return (
        qkv_BN3hd.new_empty(batch, tokens, heads, width),
        qkv_BN3hd.new_empty(batch, heads, tokens, dtype=torch.float32),
    )


@torch.library.custom_op("videoadapt::flash3_backward", mutates_args=(), device_types="cuda")
def _flash3_backward(gradient_BNhd: Tensor, qkv_BN3hd: Tensor, attended_BNhd: Tensor, sums_BhN: Tensor) -> Tensor:
    gradient_BN3hd = torch.empty_like(qkv_BN3hd, memory_format=torch.contiguous_format)
    torch.ops.flash_attn_3.bwd(
        gradient_BNhd.contiguous(), *qkv_BN3hd.unbind(2), attended_BNhd, sums_BhN, *gradient_BN3hd.unbind(2)
    )
    return gradient_BN3hd


@_flash3_backward.register_fake
def _(gradient_BNhd: Tensor, qkv_BN3hd: Tensor, attended_BNhd: Tensor, sums_BhN: Tensor) -> Tensor:
    return torch.empty_like(qkv_BN3hd, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _gradient(ctx: Any, gradient_BNhd: Tensor, _: Tensor) -> Tensor:
    gradient_BN3hd: Tensor = _flash3_backward(gradient_BNhd, *ctx.saved_tensors)
    return gradient_BN3hd


_flash3.register_autograd(_gradient, setup_context=_keep)
