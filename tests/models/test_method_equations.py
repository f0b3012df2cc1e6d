"""The newer methods against plain computations of their papers' equations, written down without the package's modules."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.toy_models import CLIP, RESNET, build, gelu_bottleneck, shake, shaken
from videoadapt.errors import ConfigError
from videoadapt.models.adapters._bottleneck import NearZeroBottleneck
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier
from videoadapt.registry import ADAPTERS
from videoadapt.runs.build import build_model

CLOSE = {"rtol": 0, "atol": 1e-5}


@torch.no_grad()
def tokens(model: Classifier, block: Any) -> tuple[Tensor, Tensor]:
    """Tokens from the model, and from blocks computed by `block`."""
    assert isinstance(model.backbone, ViT)
    x = model.backbone.embed(CLIP)
    for module in model.backbone.blocks:
        x = block(module, x)
    return model.backbone.forward_tokens(CLIP), x


def test_near_zero_bottlenecks_start_as_houlsby_says() -> None:
    torch.manual_seed(0)
    bottleneck = NearZeroBottleneck(256, 64, 0.0)
    for layer in (bottleneck.down, bottleneck.up):
        assert layer.weight.abs().max() <= 0.02 and layer.weight.abs().max() > 0.0195
        assert layer.weight.std().item() == pytest.approx(0.0088, rel=0.03)  # a normal cut at two deviations
        assert not layer.bias.any()


def test_houlsby_adds_behind_each_branch_before_the_sum() -> None:
    def block(module: Any, x: Tensor) -> Tensor:
        for place in (module.attn, module.mlp):
            h = place.branch(x)
            x = x + h + gelu_bottleneck(place.adapter, h)
        return x

    torch.testing.assert_close(*tokens(shaken({"name": "houlsby", "bottleneck": 5}), block), **CLOSE)


def test_houlsby_without_norms_trains_only_what_it_adds() -> None:
    model = build({"name": "houlsby", "norms": False, "blocks": [1]})
    names = [name for name, p in model.backbone.named_parameters() if p.requires_grad]
    assert names and all(name.startswith("blocks.1.") and ".adapter." in name for name in names)


def test_adapter_plus_reads_and_adds_behind_the_block() -> None:
    def block(module: Any, x: Tensor) -> Tensor:
        y = x + module.attn(x)
        y = y + module.mlp.branch(y)
        return y + module.mlp.adapter.scale * gelu_bottleneck(module.mlp.adapter, y)

    model = shaken({"name": "adapter_plus", "bottleneck": 5})
    torch.testing.assert_close(*tokens(model, block), **CLOSE)
    scales = [block.mlp.adapter.scale for block in build({"name": "adapter_plus"}).backbone.blocks]
    assert all(scale.equal(torch.ones(32)) for scale in scales)


def test_adapter_plus_drops_whole_clips_in_training() -> None:
    adapter = build({"name": "adapter_plus", "drop_path": 0.5}).backbone.blocks[0].mlp.adapter.train()
    shake(adapter)
    out = adapter(torch.ones(400, 2, 32))
    dropped = (out == 0).flatten(1).all(1)
    assert dropped.float().mean().item() == pytest.approx(0.5, abs=0.1)
    torch.testing.assert_close(
        out[~dropped], 2 * adapter.eval()(torch.ones(1, 2, 32)).expand(int((~dropped).sum()), -1, -1)
    )


def convolved(adapter: Any, x: Tensor, thw: tuple[int, int, int], kernel: tuple[int, int, int]) -> Tensor:
    """Each channel by itself, every neighbour in turn, zeros outside the grid."""
    grid = (x @ adapter.down.weight.T + adapter.down.bias).view(len(x), *thw, -1)
    reach = [size // 2 for size in kernel]
    padded = F.pad(grid, (0, 0, reach[2], reach[2], reach[1], reach[1], reach[0], reach[0]))
    out = adapter.conv.bias.expand_as(grid)
    for t in range(kernel[0]):
        for h in range(kernel[1]):
            for w in range(kernel[2]):
                near = padded[:, t : t + thw[0], h : h + thw[1], w : w + thw[2]]
                out = out + adapter.conv.weight[:, 0, t, h, w] * near
    return out.flatten(1, 3) @ adapter.up.weight.T + adapter.up.bias


@pytest.mark.parametrize("kernel", [(3, 1, 1), (3, 3, 3), (1, 5, 3)])
def test_st_adapter_convolves_the_grid_in_front_of_a_branch(kernel: tuple[int, int, int]) -> None:
    clips, thw = torch.randn(2, 3, 6, 32, 24), (3, 4, 3)

    def block(module: Any, x: Tensor) -> Tensor:
        for place in (module.attn, module.mlp):
            x = x + convolved(place.adapter, x, thw, kernel)
            x = x + place.branch(x)
        return x

    spec = {"name": "st_adapter", "bottleneck": 5, "kernel": list(kernel), "before": ["mlp", "attn"]}
    model = shaken(spec)
    assert isinstance(model.backbone, ViT)
    with torch.no_grad():
        x = model.backbone.embed(clips)
        for module in model.backbone.blocks:
            x = block(module, x)
        torch.testing.assert_close(model.backbone.forward_tokens(clips), x, **CLOSE)


def test_attentive_probe_is_one_query_over_all_tokens() -> None:
    model = shaken({"name": "attentive_probe", "num_heads": 4})
    assert isinstance(model.backbone, ViT)
    with torch.no_grad():
        x = model.backbone.forward_tokens(CLIP)
        pool: Any = model.backbone.pool.adapter
        normed = F.layer_norm(x, (32,), pool.tokens_norm.weight, pool.tokens_norm.bias, 1e-5)
        query = (pool.attention.q(pool.query)).view(1, 4, 8)
        keys, values = (pool.attention.kv(normed)[..., part].view(4, -1, 4, 8) for part in (slice(32), slice(32, 64)))
        weights = torch.softmax(torch.einsum("ohd,bnhd->bhn", query, keys) / math.sqrt(8), dim=-1)
        mixed = torch.einsum("bhn,bnhd->bhd", weights, values).reshape(4, 32)
        feature = pool.query[0] + mixed
        hidden = F.layer_norm(feature, (32,), pool.norm.weight, pool.norm.bias, 1e-5)
        feature = feature + pool.mlp.fc2(F.gelu(pool.mlp.fc1(hidden)))
        torch.testing.assert_close(model.backbone(CLIP), feature, **CLOSE)
    assert (
        pool.attention.num_heads == 4
        and build({"name": "attentive_probe"}).backbone.pool.adapter.attention.num_heads == 2
    )


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"name": "houlsby", "bottleneck": 0}, r"bottleneck = 0: input should be greater than or equal to 1"),
        ({"name": "adapter_plus", "drop_path": 1.0}, r"drop_path = 1.0: input should be less than 1"),
        ({"name": "st_adapter", "kernel": [3, 2, 1]}, r"kernel = \(3, 2, 1\): needs three odd numbers"),
        ({"name": "st_adapter", "kernel": [3, 1]}, r"kernel\.2: a value is required"),
        ({"name": "st_adapter", "before": ["attn", "attn"]}, r"before = .*: each may appear once"),
        ({"name": "attentive_probe", "num_heads": 3}, r"num_heads = 3: needs to divide the backbone's width 32"),
        ({"name": "attentive_probe", "mlp_ratio": 0.0}, r"mlp_ratio = 0.0: input should be greater than 0"),
    ],
)
def test_nonsense_names_its_key(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.adapter\.{complaint}"):
        build(wrong)


@pytest.mark.parametrize("name", ["houlsby", "adapter_plus", "st_adapter", "attentive_probe"])
def test_a_backbone_without_the_place_is_named(name: str) -> None:
    backbone = build({"name": "linear"}).backbone
    assert ADAPTERS.get(name) and backbone
    from videoadapt.config.schema import ModelConfig

    with pytest.raises(ConfigError, match=rf"^adapter {name}: needs .* backbone timm does not offer"):
        build_model(ModelConfig(backbone=RESNET, adapter={"name": name}), 5, 4, 64)
