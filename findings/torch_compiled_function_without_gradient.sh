#!/usr/bin/env bash
# torch 2.11 compiles an autograd.Function that ends in `.to(x.dtype)` into one without a gradient, where x is float32 already.
#
# Functions of one's own for norms, activations and adapters often compute in float32 and give back what they were given:
# `return y.to(x.dtype)`. In bfloat16 that is right. In float32 the conversion has nothing to do, and the compiled function returns zeros as
# the gradient of its input, whatever its backward says, with the backend "eager" as with "inductor": what stands in front of it is not
# trained. There is neither an error nor a warning; the loss falls as far as the layers behind it reach. Without torch.compile,
# and with torch 2.13.0 (looked at once, not below), the gradient is right. A guard: convert outside of the Function.
#
# Makes its own input; needs Python 3.10 or newer and pip. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 numpy==2.2.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import torch


class Square(torch.autograd.Function):
    """x * x, computed in float32, and returned in the precision of x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x.float() * x.float()).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class SquareOfFloat32(Square):
    """The same, which leaves conversions to its caller."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x


def inside(x):
    return Square.apply(x)


def outside(x):
    return SquareOfFloat32.apply(x.float()).to(x.dtype)


print(f"torch {torch.__version__.partition('+')[0]}")
for function in (inside, outside):
    for dtype in (torch.bfloat16, torch.float32):
        for compiled in (False, True):
            x = torch.tensor([1.0, 2.0, 3.0], dtype=dtype, requires_grad=True)
            called = torch.compile(function, backend="eager") if compiled else function
            (gradient,) = torch.autograd.grad(called(x).sum(), x)
            kind = str(dtype).removeprefix("torch.")
            print(f"converted {function.__name__}, {kind}{', compiled' if compiled else ''}: {gradient.tolist()}")
PY
"$work/venv/bin/python" "$work/look.py" 2>"$work/said" | tee "$work/seen" || { cat "$work/said"; exit 1; }
diff "$work/seen" - <<'SEEN'
torch 2.11.0
converted inside, bfloat16: [2.0, 4.0, 6.0]
converted inside, bfloat16, compiled: [2.0, 4.0, 6.0]
converted inside, float32: [2.0, 4.0, 6.0]
converted inside, float32, compiled: [0.0, 0.0, 0.0]
converted outside, bfloat16: [2.0, 4.0, 6.0]
converted outside, bfloat16, compiled: [2.0, 4.0, 6.0]
converted outside, float32: [2.0, 4.0, 6.0]
converted outside, float32, compiled: [2.0, 4.0, 6.0]
SEEN
