"""V-JEPA 2 and 2.1: how tokens are turned, written out token by token, and every adapter on both."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.toy_models import PLAIN, shake
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import ConfigError
from videoadapt.models.adapters import build_adapter
from videoadapt.models.backbones.vjepa2 import VJEPA2, RotaryAttention, rotation
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compile_blocks
from videoadapt.models.memory import recompute_blocks
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.registry import ADAPTERS
from videoadapt.runs.build import build_model

DIMS: dict[str, Any] = {"width": 32, "depth": 2, "num_heads": 2, "patch_px": 8}
CLIP = torch.randn(4, 3, 4, 16, 24, generator=torch.Generator().manual_seed(0))
VERSIONS = ["v2", "v2.1"]


def build(adapter: Any, version: str) -> Classifier:
    torch.manual_seed(0)
    backbone = {"name": "vjepa2", "version": version, **DIMS}
    return build_model(ModelConfig(backbone=backbone, adapter=adapter, head=PLAIN), 5, 4, [16, 24])


def turned_plainly(x_d: list[float], token: tuple[int, int, int], sides: tuple[int, int], version: str) -> list[float]:
    """One head's numbers of one token, pair by pair, as the two versions of Meta's code define it."""
    part = 2 * (len(x_d) // 3 // 2)
    places: list[float] = list(token)
    if version == "v2.1":  # trained on 256 px, so 32 patches of 8
        places[1:] = [place * 31 / (side - 1) for place, side in zip(token[1:], sides, strict=True)]
    out = list(x_d)
    for axis, place in enumerate(places):
        for pair in range(part // 2):
            first, second = axis * part + 2 * pair, axis * part + 2 * pair + 1
            numbers = (pair, pair) if version == "v2.1" else (2 * pair % (part // 2), (2 * pair + 1) % (part // 2))
            one, two = (place * 10000 ** (-number / (part / 2)) for number in numbers)
            out[first] = x_d[first] * math.cos(one) - x_d[second] * math.sin(one)
            out[second] = x_d[second] * math.cos(two) + x_d[first] * math.sin(two)
    return out


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("in_front", [0, 3])
def test_attention_of_turned_queries_and_keys(version: str, in_front: int) -> None:
    grid, width, heads = (2, 3, 4), 40, 2  # heads of 20: 6 by each axis, 2 by none
    torch.manual_seed(0)
    attention = RotaryAttention(width, heads).double()
    shake(attention)
    table = rotation(grid, 20, 32 if version == "v2.1" else None)
    x_BND = torch.randn(2, in_front + 24, width, dtype=torch.float64)
    tokens = [(t, h, w) for t in range(2) for h in range(3) for w in range(4)]
    expected = torch.zeros(2, in_front + 24, width, dtype=torch.float64)
    for clip in range(2):
        q, k, v = attention.qkv(x_BND[clip]).detach().chunk(3, dim=1)
        for head in range(heads):
            own = slice(20 * head, 20 * head + 20)
            queries, keys = (
                torch.tensor([
                    row if number < in_front else turned_plainly(row, tokens[number - in_front], grid[1:], version)
                    for number, row in enumerate(part[:, own].tolist())
                ], dtype=torch.float64)
                for part in (q, k)
            )  # fmt: skip
            expected[clip, :, own] = (queries @ keys.T / math.sqrt(20)).softmax(-1) @ v[:, own]
    with torch.no_grad():
        expected = attention.proj(expected)
        torch.testing.assert_close(attention(x_BND, table), expected, rtol=0, atol=1e-6)  # the table is float32


def test_only_2_1_counts_from_edge_to_edge() -> None:
    corner = [rotation((1, side, side), 24, 32)[:, -1] for side in (2, 5, 32)]
    torch.testing.assert_close(corner[0], corner[1])
    torch.testing.assert_close(corner[1], corner[2])
    assert (rotation((1, 2, 2), 24, None)[:, -1] - rotation((1, 5, 5), 24, None)[:, -1]).abs().max() > 0.1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [name for name in ADAPTERS.names() if name != "aim"])
def test_every_adapter_fits(name: str, version: str) -> None:
    model = build({"name": name}, version)
    plain = build({"name": "linear"}, version).eval()
    adapter = build_adapter({"name": name})
    with torch.no_grad():
        difference = (model.eval()(CLIP) - plain(CLIP)).abs().max()
    assert (difference < 1e-7) == adapter.starts_unchanged
    shake(model)
    F.cross_entropy(model.train()(CLIP), torch.arange(4)).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert not parameter.requires_grad or parameter.grad.abs().max() > 0, key
    again = build({"name": name}, version).eval()
    load_trainable_state(again, {key: t.clone() for key, t in trainable_state(model).items()}, Path("state"))
    again.backbone.load_state_dict(model.backbone.state_dict())  # the frozen part was moved as well
    with torch.no_grad():
        answers = model.eval()(CLIP)
        torch.testing.assert_close(again(CLIP), answers)
        if type(adapter).merge is not type(build_adapter({"name": "vpt"})).merge:
            adapter.merge(model.backbone)
            torch.testing.assert_close(model(CLIP), answers, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_clips_of_another_grid_are_turned_anew(version: str) -> None:
    torch.manual_seed(0)
    model = VJEPA2(**DIMS, version=version).eval()
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        model(CLIP)
        for other in (CLIP.mT, CLIP[:, :, :2], CLIP):  # as many tokens, and half of them
            assert model(other).equal(copy.deepcopy(fresh)(other))


@pytest.mark.parametrize("version", VERSIONS)
def test_prompts_see_a_clip_in_its_order(version: str) -> None:
    """Learned tokens have no place themselves, and what they do depends on the places of the clip's tokens."""
    model = build({"name": "vpt", "num_tokens": 3}, version).eval()
    with torch.no_grad():
        assert (model(CLIP) - model(CLIP.flip(2))).abs().max() > 1e-4


def test_recomputed_and_compiled_blocks_give_the_same_gradients() -> None:
    torch.compiler.reset()
    models = [build({"name": "adaptformer"}, "v2.1") for _ in range(3)]
    for model in models:
        torch.manual_seed(1)
        shake(model)
    recompute_blocks(models[1])
    compile_blocks(models[2], backend="aot_eager")
    for model in models:
        torch.manual_seed(2)  # dropout
        model(CLIP).square().sum().backward()
    for other in models[1:]:
        for one, two in zip(models[0].parameters(), other.parameters(), strict=True):
            if one.grad is not None:
                torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-5)  # another order of the same sums


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 8}, "num_heads = 8: makes heads of 4 numbers; they are turned in pairs"),
        ({"width": 27, "num_heads": 3}, "num_heads = 3: makes heads of 9 numbers; .* need to be even"),
    ],
)
def test_heads_that_cannot_be_turned_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VJEPA2(**(DIMS | arguments))


def test_2_1_refuses_a_crop_of_one_patch() -> None:
    VJEPA2(**DIMS).check_clip(4, 8, 16)
    with pytest.raises(ConfigError, match=r"crop_px = \[8, 16\]: .* two patches a side at least: 16 px"):
        VJEPA2(**DIMS, version="v2.1").check_clip(4, 8, 16)


@pytest.mark.parametrize(
    ("size", "published"),
    [
        ("large", 304),
        ("huge", 632),
        ("giant", 1012),
    ],  # millions in the encoder, of V-JEPA 2's model cards (300M, 600M, 1B)
)
def test_published_sizes(size: Any, published: int) -> None:
    with torch.device("meta"):
        backbone = VJEPA2(size=size)
    assert round(sum(parameter.numel() for parameter in backbone.parameters()) / 1e6) == published


def test_tokens_lie_time_first() -> None:
    backbone = VJEPA2(**DIMS)
    tokens: Tensor = backbone.tokens(CLIP)
    assert backbone.grid.thw == (2, 2, 3) and tokens.shape == (4, 12, 32)
