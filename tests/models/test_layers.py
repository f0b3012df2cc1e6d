"""Layers that were timm's: the same draws, parameters and numbers; and the mean over tokens."""

import pytest
import timm.layers
import torch
from torch import nn

from videoadapt.models.backbones._layers import DropPath, MeanPool, Mlp, PatchConv, TubeletConv


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("shape", [(64, 5, 8), (64, 8)])
def test_drop_path_draws_as_timm(rate: float, shape: tuple[int, ...]) -> None:
    x, states = torch.randn(shape), []
    results = []
    for layer in (DropPath(rate), timm.layers.DropPath(rate)):
        torch.manual_seed(1)
        results.append(layer(x))
        states.append(torch.get_rng_state())
        assert torch.equal(layer.eval()(x), x)
    assert torch.equal(*results) and torch.equal(*states)
    zeroed = (results[0].flatten(1) == 0).all(dim=1).float().mean()
    assert abs(zeroed - rate) < 0.2 and 0 < zeroed < 1


def test_mlp_starts_and_computes_as_timm() -> None:
    made, states = [], []
    for kind in (Mlp, timm.layers.Mlp):
        torch.manual_seed(1)
        made.append(kind(8, 20))
        states.append(torch.get_rng_state())
    ours, theirs = (mlp.state_dict() for mlp in made)
    assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
    x = torch.randn(3, 5, 8)
    assert torch.equal(made[0](x), made[1](x)) and torch.equal(*states)


def test_tubelets_as_a_product_are_the_convolution() -> None:
    torch.manual_seed(0)
    conv, clip_BCTHW = TubeletConv(3, 48, kernel_size=(2, 8, 8), stride=(2, 8, 8)), torch.randn(2, 3, 4, 16, 24)
    product = conv.as_product(clip_BCTHW)
    torch.testing.assert_close(product, conv(clip_BCTHW), rtol=0, atol=1e-5)  # sums of 384 products in another order
    assert product.shape == (2, 48, 2, 2, 3)


def test_patches_as_a_product_are_the_convolution() -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(3, 32, kernel_size=8, stride=8, bias=False)
    conv, images_BCHW = PatchConv.in_place_of(theirs), torch.randn(2, 3, 16, 24)
    assert isinstance(conv, PatchConv) and conv.weight is theirs.weight and conv.bias is None
    product = conv.as_product(images_BCHW)
    torch.testing.assert_close(product, theirs(images_BCHW), rtol=0, atol=1e-5)  # sums of 192 products in another order
    assert product.shape == (2, 32, 2, 3) and list(conv.state_dict()) == ["weight"]


@pytest.mark.parametrize("other", [{"stride": 4}, {"padding": 1}, {"dilation": 2}, {"groups": 3, "out_channels": 33}])
def test_other_convolutions_stay_what_they_are(other: dict[str, int]) -> None:
    conv = nn.Conv2d(**{"in_channels": 3, "out_channels": 32, "kernel_size": 8, "stride": 8, **other})
    assert PatchConv.in_place_of(conv) is conv


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_mean_of_many_tokens_is_added_up_in_float32(dtype: torch.dtype) -> None:
    x_BND = (torch.randn(2, 3000, 4) + 50).to(dtype).requires_grad_()
    found = MeanPool()(x_BND)
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(found.double(), x_BND.double().mean(1), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(found.sum(), x_BND)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1 / 3000))
