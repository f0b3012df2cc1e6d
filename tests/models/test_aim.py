"""AIM against its paper's equations, written down without the package's modules: section 3 of arXiv 2302.03024."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.timm_models import FAMILIES, FRAMES, build_small, clip_for, own_forward
from tests.toy_models import PLAIN, TINY, build, gelu_bottleneck, shake, shaken
from videoadapt.config.schema import Config, DataConfig, ModelConfig
from videoadapt.errors import ConfigError
from videoadapt.export.programs import export_torch
from videoadapt.models.parameters import parameter_table
from videoadapt.runs.build import build_model

CLOSE = {"rtol": 0, "atol": 1e-5}
SPEC = {"name": "aim", "bottleneck": 5, "num_times": 3, "scale": 0.7}
CLIP = torch.randn(2, 3, 6, 16, 24, generator=torch.Generator().manual_seed(3))  # three times of 2 x 3 tokens
OVER_TIME = ["ViT", "DeiT", "DeiT III", "CLIP", "SigLIP", "DINOv2, registers", "DINOv3", "PE-Core", "EVA"]
OVER_TIME += ["EVA-02 Ti, S", "EVA-02 B, L"]
FRAMEWISE = TINY | {"attention": "framewise"}
BACKBONES = pytest.mark.parametrize("backbone", [TINY, FRAMEWISE], ids=["joint", "framewise"])


def attention(own: Any, x: Tensor) -> Tensor:
    """Multi-head attention over the tokens of (..., N, D), with the frozen weights."""
    q, k, v = (x @ own.qkv.weight.T + own.qkv.bias).unflatten(-1, (3, 2, 16)).unbind(-3)
    weights = torch.softmax(torch.einsum("...nhd,...mhd->...hnm", q, k) / 4, dim=-1)
    return torch.einsum("...hnm,...mhd->...nhd", weights, v).flatten(-2) @ own.proj.weight.T + own.proj.bias


@torch.no_grad()
@BACKBONES
def test_the_papers_equations_on_our_vit(backbone: dict[str, Any]) -> None:
    vit = shaken(SPEC, backbone).backbone
    z = vit.embed(CLIP).view(2, 3, 6, 32)  # clips, times, places
    for number, block in enumerate(vit.blocks):
        around, frozen = block.attn.adapter, block.attn.branch
        if number == 0:
            assert around.positions.weight.any()
            z = z + around.positions.weight[:, None]
        else:
            assert around.positions is None
        z = z + gelu_bottleneck(around.temporal, attention(frozen.fn, frozen.norm(z).transpose(1, 2)).transpose(1, 2))
        if backbone is TINY:
            h = attention(frozen.fn, frozen.norm(z).flatten(1, 2)).view(z.shape)
        else:
            h = attention(frozen.fn, frozen.norm(z))
        z = z + h + gelu_bottleneck(around.spatial, h)
        mlp, normed = block.mlp.branch, block.mlp.branch.norm(z)
        z = z + mlp.fn.fc2(F.gelu(mlp.fn.fc1(normed))) + 0.7 * gelu_bottleneck(block.mlp.adapter, normed)
    torch.testing.assert_close(vit.forward_tokens(CLIP), z.flatten(1, 2), **CLOSE)


class Zero(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


def only(block: Any, number: int, x: Tensor, **context: Any) -> Tensor:
    """What one of the two branches of timm's block adds to x, by timm's own code."""
    alone = copy.deepcopy(block)
    setattr(alone, f"drop_path{3 - number}", Zero())
    return own_forward(alone, x, **context) - x


@torch.no_grad()
@pytest.mark.parametrize("name", OVER_TIME)
def test_the_same_around_timms_own_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Class tokens and registers have times as well; rotary positions of space are not for the attention over time."""
    model: Any = build_small(monkeypatch, FAMILIES[name], SPEC)
    shake(model)
    seen: list[Any] = []
    for block in model.backbone.net.blocks:
        block.register_forward_hook(lambda b, given, more, y: seen.append((b, given[0], more, y)), with_kwargs=True)
    model.backbone(clip_for(FAMILIES[name]))
    for number, (block, x, context, y) in enumerate(seen):
        view = model.backbone.blocks[number]
        z = x.unflatten(0, (2, FRAMES))
        if number == 0:
            z = z + view.attn.adapter.positions.weight[:, None]
        over_time = only(block, 1, z.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, -1)).transpose(1, 2)
        z = (z + gelu_bottleneck(view.attn.adapter.temporal, over_time)).flatten(0, 1)
        h = only(block, 1, z, **context)
        z = z + h + gelu_bottleneck(view.attn.adapter.spatial, h)
        joint = 0.7 * gelu_bottleneck(view.mlp.adapter, block.norm2(z))
        torch.testing.assert_close(y, z + only(block, 2, z) + joint, rtol=0, atol=2e-5)
    assert len(seen) == 2


@torch.no_grad()
@BACKBONES
def test_it_starts_as_the_frozen_model_to_the_bit(backbone: dict[str, Any]) -> None:
    model, frozen = build({"name": "aim", "num_times": 3}, backbone).eval(), build({"name": "linear"}, backbone).eval()
    names = {key.replace("branch.", ""): tensor for key, tensor in model.state_dict().items()}
    frozen.load_state_dict({key: names[key] for key in frozen.state_dict()})
    assert model.backbone(CLIP).equal(frozen.backbone(CLIP))
    downs = torch.cat([b.attn.adapter.temporal.down.weight.flatten() for b in build({"name": "aim"}).backbone.blocks])
    assert downs.std().item() == pytest.approx(0.02, rel=0.1)


@torch.no_grad()
def test_the_order_of_frames_is_told_by_the_positions() -> None:
    """The attention over time alone gives every order of the frames the same tokens, in that order."""
    back = CLIP.unflatten(2, (3, 2)).flip(2).flatten(2, 3)
    blind, seeing = (shaken(SPEC | {"num_times": n}, FRAMEWISE).backbone for n in (None, 3))
    torch.testing.assert_close(blind(back), blind(CLIP), **CLOSE)
    assert not seeing(back).allclose(seeing(CLIP), atol=1e-3)
    frame = CLIP[:, :, :2]
    assert not blind(CLIP).allclose(torch.stack([blind(f) for f in CLIP.split(2, 2)]).mean(0), atol=1e-4)
    assert blind(frame).shape == (2, 32)


@torch.no_grad()
def test_prompts_have_no_time_where_a_clip_is_one_row() -> None:
    vit = shaken([SPEC, {"name": "vpt", "num_tokens": 2}], TINY).backbone
    vit(CLIP)  # the grid is that of the last clip
    around, x = vit.blocks[1].branch.attn, torch.randn(2, 2 + 18, 32)
    added = around.adapter.over_time(around.branch, x)
    assert not added[:, :2].any() and added[:, 2:].equal(around.adapter.over_time(around.branch, x[:, 2:]))


@pytest.mark.parametrize(
    ("name", "why"), [("BEiT", "position for every pair"), ("Swin", "windows"), ("Swin V2", "win"), ("Hiera", "win")]
)
def test_attention_within_an_image_only_is_refused(name: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=rf"^adapter aim: backbone timm cannot attend over time: its .*{why}.*; take st_"
    ):
        build_small(monkeypatch, FAMILIES[name], SPEC)


def test_where_tokens_are_turned_by_their_time_it_is_refused() -> None:
    vjepa2 = {"name": "vjepa2", "width": 32, "depth": 2, "num_heads": 2, "patch_px": 8}
    with pytest.raises(
        ConfigError, match=r"^adapter aim: backbone vjepa2 cannot attend over time: it turns all tokens"
    ):
        build(SPEC, vjepa2)


def test_it_trains_as_many_numbers_as_the_paper_says() -> None:
    """Its tables: 11 M for ViT-B, quoted from memory. Here 12 x 3 bottlenecks of 768 x 192, and 8 positions."""
    spec = {"backbone": {"name": "timm", "model": "vit_base_patch16_clip_quickgelu_224"}, "adapter": {"name": "aim"}}
    with torch.device("meta"):
        model = build_model(ModelConfig.model_validate(spec | {"head": PLAIN}), 400, 8, 224)
    counts = {row.group: row.num_parameters for row in parameter_table(model)}
    assert counts["adapter"] == 12 * 3 * (768 * 192 + 192 + 192 * 768 + 768) + 8 * 768 == 10_657_536
    assert round(counts["adapter"] / 1e6) == 11


@pytest.mark.slow
@pytest.mark.parametrize("family", ["CLIP", "DINOv3"])
def test_it_exports_around_timms_blocks(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = FAMILIES[family]
    model = build_small(monkeypatch, small, SPEC)
    shake(model)
    backbone = {"name": "timm", "model": small.model}
    config = Config(
        output=tmp_path,
        model=ModelConfig(backbone=backbone, adapter=SPEC, head=PLAIN),
        data=DataConfig(num_frames=FRAMES, crop_px=small.side_px),
    )
    assert export_torch(model, config, list("abcde"), tmp_path / "m.pt2") < 1e-5


@pytest.mark.slow
def test_a_framewise_vit_with_it_exports(tmp_path: Path) -> None:
    model = shaken(SPEC, FRAMEWISE)
    spec = ModelConfig(backbone=FRAMEWISE, adapter=SPEC, head=PLAIN)
    config = Config(output=tmp_path, model=spec, data=DataConfig(num_frames=4, crop_px=16))
    assert export_torch(model, config, list("abcde"), tmp_path / "m.pt2") < 1e-5
