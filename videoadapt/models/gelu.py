"""GELU in a compiled training on a GPU, which keeps its slope for the backward pass in eight bits.

Behind it stands a frozen layer as a rule, and then nothing else is needed there: half the memory of what went in, and neither
an error function nor an exponential in the backward pass. "Few-Bit Backward" (arXiv 2202.00441) goes down to three bits. The
values are those of PyTorch but for 6e-7, before they are rounded to half precision, and the slopes but for 1 / 404.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from videoadapt.models.activations import named

ValueAndSlope: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]  # both of any shape, in float32

# A slope is (level - _ZERO) / _STEPS, level 0 to 255: all of -0.129 to 1.129, where these functions' are, 0 and 1 exactly.
_STEPS, _ZERO = 202, 27
# erfc(x) = t (a1 + a2 t + ... + a5 t^4) exp(-x^2), with t = 1 / (1 + p x), for x >= 0: Abramowitz and Stegun 7.1.26, to 1.5e-7
_P = 0.3275911
_A5_TO_A1 = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def keep_slopes(model: nn.Module) -> None:
    """Have every GELU of a model, and those of CLIP and SigLIP, keep its slope where it is compiled and trained on a GPU."""
    for module in model.modules():
        kind = type(module)
        if named(module) in _FUNCTIONS and kind.__module__.startswith(("torch.nn.", "timm.layers.")):
            module.__class__ = _keeping(kind)  # type: ignore[arg-type]


def gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    """The product of x and Phi(x), the normal distribution's function (arXiv 1606.08415), and its slope."""
    bell = torch.exp2(x * x * (-0.5 / math.log(2)))
    grown = 1 + _P / math.sqrt(2) * x.abs()
    t = torch.rsqrt(grown * grown)  # 1 / grown, by one instruction of a GPU where a division takes six
    tail = torch.zeros_like(t)
    for factor in _A5_TO_A1:
        tail = (tail + factor / 2) * t
    tail = tail * bell
    phi = torch.where(x < 0, tail, 1 - tail)
    return x * phi, phi + x * bell * (1 / math.sqrt(2 * math.pi))


def gelu_tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    """The same with the paper's approximation of Phi, (1 + tanh(y)) / 2, which is the sigmoid of 2 y."""
    factor, cubic = 2 * math.sqrt(2 / math.pi), 0.044715
    phi = torch.sigmoid(factor * (x + cubic * x * x * x))
    return x * phi, phi + x * phi * (1 - phi) * (factor * (1 + 3 * cubic * x * x))


def quick_gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    """The same with the sigmoid of 1.702 x for Phi, as OpenAI's CLIP has it."""
    phi = torch.sigmoid(1.702 * x)
    return x * phi, phi + 1.702 * (x * phi * (1 - phi))


_FUNCTIONS: dict[str, ValueAndSlope] = {"gelu": gelu, "gelu_tanh": gelu_tanh, "quick_gelu": quick_gelu}


def with_slope_kept(x: Tensor, function: ValueAndSlope) -> Tensor:
    """Return the values, computed in float32, in the precision of x. For its gradient a byte is kept for each number."""
    # Conversions stand outside: a Function that returns one with nothing to do, float32 to float32, has no gradient where
    # torch 2.11 compiles it (findings/torch_compiled_function_without_gradient.sh).
    made: Tensor = _SlopeKept.apply(x.float(), function).to(x.dtype)
    return made


class _SlopeKept(torch.autograd.Function):
    """Float32 to float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: ValueAndSlope) -> Tensor:
        value, slope = function(x)
        ctx.save_for_backward((slope * _STEPS + (_ZERO + 0.5)).to(torch.uint8))  # which cuts off, and so rounds
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (level,) = ctx.saved_tensors
        return gradient * ((level.float() - _ZERO) * (1 / _STEPS)), None


def _keeps_slope(x: Tensor) -> bool:
    """Elsewhere it would cost time: float32 is for who wants all digits, and kernels that are not fused read and write more."""
    trained = torch.is_grad_enabled() and x.requires_grad
    return trained and torch.compiler.is_compiling() and x.is_cuda and x.dtype in (torch.bfloat16, torch.float16)


@cache
def _keeping(kind: type[nn.Module]) -> type[nn.Module]:
    """The class that does so in place of one of PyTorch's or timm's, under its name."""

    def forward(self: nn.Module, input: Tensor) -> Tensor:
        if _keeps_slope(input):
            return with_slope_kept(input, _FUNCTIONS[named(self) or ""])
        made: Tensor = kind.forward(self, input)
        return made

    return type(kind.__name__, (kind,), {"forward": forward})
