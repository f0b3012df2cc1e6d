"""From images to video: times that pass the blocks by themselves, and poolings over them, against their equations."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.timm_models import FAMILIES, FRAMES, build_small, clip_for
from tests.toy_models import RESNET, TINY, build, shake
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError
from videoadapt.models.adapters._time_positions import TimePositions
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_autoencoder

CLOSE = {"rtol": 0, "atol": 1e-5}
FRAMEWISE = TINY | {"attention": "framewise"}
CLIP = torch.randn(2, 3, 6, 16, 24, generator=torch.Generator().manual_seed(3))  # three times of 2 x 3 tokens


def shaken(adapter: dict[str, Any], backbone: dict[str, Any] = FRAMEWISE) -> Classifier:
    model = build(adapter, backbone).eval()
    shake(model)
    return model


def attended(pool: Any, x: Tensor, heads: int) -> Tensor:
    """V-JEPA's block of one query over the rows of x, (B, N, D)."""
    batch, _, width = x.shape
    normed = F.layer_norm(x, (width,), pool.tokens_norm.weight, pool.tokens_norm.bias, 1e-5)
    query = pool.attention.q(pool.query).view(1, heads, -1)
    keys, values = pool.attention.kv(normed).view(batch, -1, 2, heads, width // heads).unbind(2)
    weights = torch.softmax(torch.einsum("ohd,bnhd->bhn", query, keys) / math.sqrt(width // heads), dim=-1)
    feature = pool.query[0] + torch.einsum("bhn,bnhd->bhd", weights, values).reshape(batch, width)
    hidden = F.layer_norm(feature, (width,), pool.norm.weight, pool.norm.bias, 1e-5)
    return feature + pool.mlp.fc2(F.gelu(pool.mlp.fc1(hidden)))


@torch.no_grad()
def test_each_time_passes_a_framewise_vit_as_a_clip_by_itself() -> None:
    model, joint = shaken({"name": "linear"}), shaken({"name": "linear"}, TINY)
    joint.load_state_dict(model.state_dict())
    times = [joint.backbone(clip) for clip in CLIP.split(2, dim=2)]
    torch.testing.assert_close(model.backbone(CLIP), torch.stack(times).mean(0), **CLOSE)
    assert not joint.backbone(CLIP).allclose(model.backbone(CLIP), atol=1e-3)
    other_order = CLIP.unflatten(2, (3, 2)).flip(2).flatten(2, 3)
    torch.testing.assert_close(model.backbone(other_order), model.backbone(CLIP), **CLOSE)  # the mean tells no order


@torch.no_grad()
def test_learned_positions_of_space_are_those_of_every_time() -> None:
    backbone: Any = shaken({"name": "linear"}).backbone
    bare = backbone.embed(CLIP)
    backbone.make_room({"space_positions": torch.zeros(2, 3, 32)})
    backbone.space_positions.normal_()
    without = backbone.embed(CLIP) - backbone.space_positions.flatten(0, 1)
    backbone.space_positions = None
    sinusoid = backbone.positions((1, 2, 3), CLIP.device)
    assert bare.shape == (6, 6, 32)
    torch.testing.assert_close(without, bare - sinusoid, **CLOSE)


def test_masked_pretraining_needs_joint_attention(tmp_path: Path) -> None:
    given = {"output": tmp_path, "task": "pretrain", "model": {"backbone": FRAMEWISE}}
    config = Config.model_validate(given | {"data": {"num_frames": 4, "crop_px": 16}})
    with pytest.raises(
        ConfigError, match=r"^model\.backbone\.attention = 'framewise': masked tokens .* allowed: joint"
    ):
        build_autoencoder(config)


@torch.no_grad()
@pytest.mark.parametrize("backbone", [TINY, FRAMEWISE], ids=["joint", "framewise"])
def test_the_probe_over_times_looks_at_the_mean_of_each(backbone: dict[str, Any]) -> None:
    model = shaken({"name": "attentive_probe", "num_heads": 4, "over": "times", "num_times": 3}, backbone)
    vit: Any = model.backbone
    means = vit.forward_tokens(CLIP).view(2, 3, 6, 32).mean(2)
    pool = vit.time_pool.adapter
    assert pool.positions.weight.shape == (3, 32) and pool.positions.weight.any()
    torch.testing.assert_close(vit(CLIP), attended(pool, means + pool.positions.weight, 4), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("family", ["DINOv2, registers", "Swin"])
@pytest.mark.parametrize("over", ["times", "tokens"])
def test_the_probe_knows_the_times_of_an_image_models_frames(
    family: str, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"name": "attentive_probe", "over": over, "num_times": FRAMES}
    model = build_small(monkeypatch, FAMILIES[family], spec)
    shake(model)
    clip = clip_for(FAMILIES[family])
    frames = clip.transpose(1, 2).flatten(0, 1)
    backbone: Any = model.backbone
    if over == "times":
        pool, x = backbone.time_pool.adapter, backbone.net(frames).unflatten(0, (2, FRAMES))
        x = x + pool.positions.weight
    else:
        pool, tokens = backbone.pool.adapter, backbone.net.forward_features(frames)
        x = tokens.reshape(2, FRAMES, -1, backbone.width) + pool.positions.weight[:, None]
    expected = attended(pool, x.reshape(2, -1, backbone.width), backbone.num_heads)
    torch.testing.assert_close(backbone(clip), expected, **CLOSE)
    assert not backbone(clip.flip(2)).allclose(backbone(clip), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("over", ["times", "tokens"])
def test_without_positions_the_probe_tells_no_order(over: str) -> None:
    model = shaken({"name": "attentive_probe", "over": over})
    torch.testing.assert_close(
        model.backbone(CLIP.unflatten(2, (3, 2)).flip(2).flatten(2, 3)), model.backbone(CLIP), **CLOSE
    )


@torch.no_grad()
def test_any_image_model_of_timm_takes_the_probe_over_times() -> None:
    spec = {"name": "attentive_probe", "over": "times", "num_times": 4}
    with pytest.raises(
        ConfigError, match=r"^model\.adapter\.num_heads = None: this backbone has none; give a divisor of"
    ):
        build(spec, RESNET)
    model = shaken(spec | {"num_heads": 4}, RESNET)
    clip, pool = torch.randn(2, 3, 4, 64, 64), model.backbone.time_pool.adapter
    features = model.backbone.net(clip.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, 4))
    expected = attended(pool, features + pool.positions.weight, 4)
    torch.testing.assert_close(model.backbone(clip), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_positions_in_time_are_read_between_for_other_clips() -> None:
    positions = TimePositions(4, 2)
    assert not positions(4).any() and not positions(9).any()
    positions.weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [6.0, 1.0]]))
    assert positions(4).equal(positions.weight)
    torch.testing.assert_close(positions(2)[:, 0], torch.tensor([1.0, 5.0]))  # the middles of the halves
    eight = [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.0]
    torch.testing.assert_close(positions(8), torch.tensor([eight, [1.0] * 8]).T)
