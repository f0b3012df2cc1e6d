"""Attention of queries, keys and values in one tensor: PyTorch's, and FlashAttention-3's where a GPU has its kernels."""

import copy
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from videoadapt.models import attention as kernels
from videoadapt.models.attention import attended, by_pytorch, flash3_loaded
from videoadapt.models.backbones._timm_blocks import OneTensorAttention

HAS_FLASH3 = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0) and flash3_loaded()
with_flash3 = pytest.mark.skipif(not HAS_FLASH3, reason="needs a Hopper GPU with FlashAttention-3")


def by_formula(qkv_BN3hd: Tensor) -> Tensor:
    q, k, v = qkv_BN3hd.permute(2, 0, 3, 1, 4)
    weights_BhNN = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return (weights_BhNN @ v).transpose(1, 2).flatten(2)


class Calls(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.attention = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.attention += func is F.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def test_is_the_formula() -> None:
    qkv = torch.randn(2, 7, 3, 4, 8, dtype=torch.float64, requires_grad=True)
    expected, found = by_formula(qkv), attended(qkv)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((out * weights).sum(), qkv)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("is_fused", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"qkv_bias": True, "gated": True},
        {"scale_norm": True},
        {"qk_norm": True},
        {"attn_drop": 0.0, "proj_drop": 0.5},
    ],
)
def test_timm_attention_is_its_own(arguments: dict[str, Any], is_fused: bool) -> None:
    theirs = Attention(32, num_heads=4, norm_layer=nn.LayerNorm, **{"attn_drop": 0.5, **arguments})
    theirs.fused_attn = is_fused  # as $TIMM_FUSED_ATTN asks for it
    ours, x = copy.deepcopy(theirs), torch.randn(2, 9, 32)
    ours.__class__ = OneTensorAttention
    mask = torch.randn(9, 9)
    for training in (True, False):  # dropout draws the same twice
        for given in ({}, {"attn_mask": mask}, {"is_causal": True}):
            outs = []
            for attention in (ours.train(training), theirs.train(training)):
                torch.manual_seed(0)
                outs.append(attention(x, **given))
            assert torch.equal(*outs), (training, given)


@pytest.mark.skipif(HAS_FLASH3, reason="the true ones are loaded")
@pytest.mark.parametrize("package", ["flash_attn_3", "xformers/flash_attn_3"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ""),
        ("raise ImportError('libcudart.so.12: no such file')", "libcudart.so.12"),
        ("import a_package_that_it_needs", "No module named 'a_package_that_it_needs'"),
        ("raise RuntimeError('built for another torch')", "built for another torch"),
    ],
)
def test_kernels_are_looked_for(
    package: str,
    content: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, name = tmp_path / package, package.replace("/", ".")
    folder.mkdir(parents=True)
    (folder / "_C.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    flash3_loaded.cache_clear()
    try:
        with caplog.at_level(logging.INFO, "videoadapt"):
            assert flash3_loaded() is not bool(said)
    finally:
        flash3_loaded.cache_clear()
        for module in [module for module in sys.modules if module.partition(".")[0] in ("flash_attn_3", "xformers")]:
            del sys.modules[module]
    assert name in caplog.text and said in caplog.text
    assert len(caplog.records) == 1  # of the package that is not there nothing is said


@pytest.mark.parametrize(
    ("changes", "takes"),
    [
        ({}, True),
        ({"dtype": torch.float16}, True),
        ({"dtype": torch.float32}, False),
        ({"device": "cpu"}, False),
        ({"requires_grad": False}, False),
        ({"tokens": 191}, False),
        ({"tokens": 192}, True),
        ({"width": 100}, False),
        ({"width": 256}, True),
        ({"width": 264}, False),
        ({"tokens": 256, "width": 256}, True),
        ({"tokens": 255, "width": 136}, False),
        ({"tokens": 255, "width": 128}, True),
    ],
)
def test_flash3_takes_what_its_kernels_can(
    changes: dict[str, Any], takes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tensors without numbers, which need no GPU."""
    given = {"tokens": 784, "width": 64, "device": "cuda", "dtype": torch.bfloat16, "requires_grad": True, **changes}
    monkeypatch.setattr(kernels, "_has_flash3", lambda gpu: True)
    with FakeTensorMode():
        qkv = torch.empty(2, given.pop("tokens"), 3, 2, given.pop("width"), **given)
        assert kernels._flash3_takes(qkv) == takes
        with torch.no_grad():
            assert not kernels._flash3_takes(qkv)
        with by_pytorch():
            assert not kernels._flash3_takes(qkv)
        assert kernels._flash3_takes(qkv) == takes
        monkeypatch.setattr(kernels, "_has_flash3", lambda gpu: False)
        assert not kernels._flash3_takes(qkv)


@with_flash3
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("tokens", "heads", "width"),
    [(784, 12, 64), (261, 2, 88), (300, 2, 8), (333, 2, 256), (197, 12, 64), (192, 2, 128), (255, 3, 8)],
)
def test_flash3_is_as_near_as_pytorch(dtype: torch.dtype, tokens: int, heads: int, width: int) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(3, tokens, 3, heads, width, device="cuda", dtype=dtype, requires_grad=True)
    exact = qkv.detach().double().requires_grad_()
    expected = by_formula(exact)
    weights = torch.randn_like(expected).to(dtype)
    (wanted,) = torch.autograd.grad(expected, exact, weights.double())

    def errors() -> list[float]:
        out = attended(qkv)
        (found,) = torch.autograd.grad(out, qkv, weights)
        return [
            float((one.detach().double() - other.detach()).norm() / other.norm())
            for one, other in ((out, expected), (found, wanted))
        ]

    with by_pytorch():
        pytorch = errors()
    with Calls() as calls:
        flash3 = errors()
    assert not calls.attention
    assert all(ours < 1.1 * theirs for ours, theirs in zip(flash3, pytorch, strict=True))  # rounding alone


@with_flash3
def test_flash3_compiles_into_one_graph() -> None:
    layers = nn.Sequential(nn.Linear(64, 192), nn.Unflatten(-1, (3, 2, 32))).cuda().bfloat16()
    x = torch.randn(2, 300, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)

    def attention(x_BND: Tensor) -> Tensor:
        return attended(layers(x_BND))

    out = torch.compile(attention, fullgraph=True, dynamic=False)(x)
    torch.testing.assert_close(out, attention(x), rtol=0.02, atol=0.02)
    gradients = [torch.autograd.grad(y.float().square().sum(), x)[0] for y in (out, attention(x))]
    torch.testing.assert_close(*gradients, rtol=0.05, atol=0.05)


@with_flash3
def test_calls_can_be_seen_by_pytorch() -> None:
    qkv = torch.randn(2, 300, 3, 2, 32, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    with Calls() as calls, by_pytorch():
        attended(qkv)
    assert calls.attention == 1


@with_flash3
def test_predictions_are_made_by_pytorch() -> None:
    qkv = torch.randn(2, 300, 3, 2, 32, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    for given, mode in ((qkv, torch.no_grad), (qkv.detach(), torch.enable_grad), (qkv.detach(), torch.inference_mode)):
        with Calls() as calls, mode():
            attended(given)
        assert calls.attention == 1
