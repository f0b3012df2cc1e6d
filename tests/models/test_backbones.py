"""Backbones: published sizes, positions, the contract that every registered backbone keeps."""

import inspect
import math
import sys

import numpy as np
import pytest
import pytorchvideo.models.net
import pytorchvideo.models.vision_transformers
import timm
import torch
import torch.nn.functional as F
from torch import nn

from videoadapt.errors import ConfigError
from videoadapt.models.backbones import pytorchvideo as ptv
from videoadapt.models.backbones._layers import Attention, QKVLinear
from videoadapt.models.backbones.pytorchvideo import PyTorchVideo
from videoadapt.models.backbones.timm import Timm
from videoadapt.models.backbones.vit import ViT, sinusoid_positions
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import Head
from videoadapt.models.loading import load_backbone, save_backbone
from videoadapt.registry import BACKBONES
from videoadapt.weights.formats import read_weights
from videoadapt.weights.normalisation import IMAGENET

# A small instance of every registered backbone, and the clip (T, H, W) it is shown.
SMALL = {
    "vit": ({"size": "tiny", "depth": 2}, (4, 16, 24)),
    "vjepa2": ({"width": 32, "depth": 2, "num_heads": 2, "patch_px": 8}, (4, 16, 24)),
    "timm": ({"model": "test_resnet"}, (3, 64, 64)),
    "pytorchvideo": ({"model": "x3d_xs", "num_frames": 2, "crop_px": 32}, (2, 32, 32)),
}


@pytest.fixture
def quick_init(monkeypatch):
    """Leave PyTorchVideo's layers as torch initialises them: its own way takes seconds a network."""
    for module in (pytorchvideo.models.net, pytorchvideo.models.vision_transformers):
        monkeypatch.setattr(module, "init_net_weights", lambda *args, **kwargs: None)


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_backbone_keeps_the_contract(name):
    arguments, (frames, height, width) = SMALL[name]
    backbone = BACKBONES.build({"name": name, **arguments}).eval()
    clip = torch.randn(2, 3, frames, height, width)
    feature = backbone(clip)
    assert feature.shape == (2, backbone.width) and feature.dtype == torch.float32
    assert isinstance(backbone.depth, int) and (backbone.fc_norm_eps is None or backbone.fc_norm_eps > 0)
    backbone.check_clip(frames, height, width)
    # Each clip is processed on its own, and the feature depends on the clip.
    torch.testing.assert_close(backbone(clip[1:]), feature[1:], rtol=1e-4, atol=1e-5)
    assert (feature[0] - feature[1]).abs().max() > 1e-6
    for parameter in inspect.signature(type(backbone).__init__).parameters.values():
        assert parameter.name == "self" or parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("size", "published"),
    [
        ("small", 22_033_936),
        ("base", 86_534_800),
        ("large", 304_270_736),
        ("huge", 632_119_440),
        ("giant", 1_012_174_352),
    ],
)
def test_published_parameter_counts(size, published):
    with torch.device("meta"):
        vit = ViT(size=size)
        model = Classifier(vit, Head(vit.width, 400, batch_norm=False, sync=False, dropout=0.0, init_std=0.01))
    assert sum(parameter.numel() for parameter in model.parameters()) == published


@pytest.mark.parametrize(
    ("model", "published_millions"),
    [
        ("slow_r50", 32.45),
        ("slowfast_r50", 34.57),
        ("slowfast_r101", 62.83),
        ("x3d_xs", 3.79),
        ("x3d_s", 3.79),
        ("x3d_m", 3.79),
        ("x3d_l", 6.15),
        ("mvit_base_16x4", 36.61),
        ("mvit_base_32x3", 36.61),
    ],
)
def test_published_parameter_counts_of_comparison_backbones(model, published_millions, quick_init):
    entry = ptv.MODELS[model]
    with torch.device("cpu" if model.startswith("mvit") else "meta"):  # MViT's constructor reads values
        backbone = PyTorchVideo(model=model)
    count = sum(p.numel() for p in backbone.parameters()) + 400 * backbone.width + 400
    assert count / 1e6 == pytest.approx(published_millions, abs=0.006)
    assert (backbone.num_frames, backbone.sides_px) == (entry.num_frames, (entry.crop_px, entry.crop_px))


def test_the_schema_offers_every_model_of_the_table():
    allowed = BACKBONES.schema("pytorchvideo")["model"].annotation.__args__
    assert set(allowed) == set(ptv.MODELS)


def test_positions_equal_the_formula_in_float64():
    table = np.array([[p / np.power(10000, 2 * (i // 2) / 48) for i in range(48)] for p in range(1568)])
    table[:, 0::2], table[:, 1::2] = np.sin(table[:, 0::2]), np.cos(table[:, 1::2])
    positions = sinusoid_positions(1568, 48)
    assert positions.dtype == torch.float32
    np.testing.assert_allclose(positions.numpy(), table.astype(np.float32), rtol=0, atol=1e-7)


def test_positions_follow_the_grid_and_are_not_in_the_state():
    vit = ViT(size="tiny", depth=1, width=32, num_heads=2).eval()
    for shape in ((8, 64, 64), (2, 8, 8), (16, 24, 40)):
        clip = torch.zeros(1, 3, *shape)
        expected = sinusoid_positions(math.prod(vit.grid_THW(*shape)), 32) + vit.patch_embed.bias
        torch.testing.assert_close(vit.embed(clip)[0], expected)
    assert not any("position" in name for name in vit.state_dict())


def test_tokens_are_ordered_time_height_width():
    vit = ViT(size="tiny", depth=1, width=32, num_heads=2)
    clip = torch.randn(1, 3, 4, 16, 24)
    tokens = (vit.embed(clip) - sinusoid_positions(12, 32))[0].unflatten(0, (2, 2, 3))
    tubelet = clip[0, :, 2:4, 8:16, 16:24]
    expected = torch.einsum("dcthw,cthw->d", vit.patch_embed.weight, tubelet) + vit.patch_embed.bias
    torch.testing.assert_close(tokens[1, 1, 2], expected, rtol=1e-4, atol=1e-5)


def test_tiny_has_256_tokens():
    vit = ViT(size="tiny")
    assert vit.grid_THW(8, 64, 64) == (4, 8, 8)
    assert (vit.width, vit.depth, len(vit.blocks)) == (128, 5, 5)


def test_attention_equals_its_definition():
    torch.manual_seed(0)
    attention = Attention(24, 3)
    nn.init.normal_(attention.qkv.q_bias), nn.init.normal_(attention.qkv.v_bias)
    x = torch.randn(2, 5, 24)
    q, k, v = (F.linear(x, weight) for weight in attention.qkv.weight.chunk(3))
    q, v = q + attention.qkv.q_bias, v + attention.qkv.v_bias
    heads = []
    for h in range(3):
        part = slice(8 * h, 8 * h + 8)
        heads.append((q[..., part] @ k[..., part].mT / math.sqrt(8)).softmax(-1) @ v[..., part])
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, -1)))


def test_qkv_looks_like_a_linear_layer():
    qkv = QKVLinear(8)
    nn.init.normal_(qkv.q_bias), nn.init.normal_(qkv.v_bias)
    linear = nn.Linear(qkv.in_features, qkv.out_features)
    linear.weight.data, linear.bias.data = qkv.weight.data, qkv.bias.data
    x = torch.randn(3, 8)
    torch.testing.assert_close(qkv(x), linear(x))
    assert qkv.bias[8:16].abs().max() == 0


def test_drop_path_grows_linearly_and_is_off_in_eval():
    vit = ViT(size="tiny", depth=5, drop_path=0.2)
    assert isinstance(vit.blocks[0].mlp.drop_path, torch.nn.Identity)
    assert [1 - float(block.mlp.drop_path.kept) for block in vit.blocks[1:]] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    clip = torch.randn(1, 3, 2, 16, 16)
    torch.testing.assert_close(vit.eval()(clip), vit(clip), rtol=0, atol=0)
    outputs = {vit.train()(clip).sum().item() for _ in range(20)}
    assert len(outputs) > 1


@pytest.mark.parametrize(
    ("shape", "keys"),
    [
        ((7, 64, 64), ("ViT: num_frames = 7", "the backbone's tubelet_frames = 2")),
        ((8, 60, 60), ("ViT: crop_px = 60", "the backbone's patch_px = 8")),
        ((8, 64, 60), ("ViT: crop_px = [64, 60]: width needs", "the backbone's patch_px = 8")),
        ((7, 60, 60), ("ViT: num_frames = 7", "ViT: crop_px = 60")),
    ],
)
def test_a_clip_that_does_not_divide_is_a_config_error(shape, keys):
    vit = ViT(size="tiny", depth=1)
    with pytest.raises(ConfigError) as error:
        vit(torch.zeros(1, 3, *shape))
    assert all(key in str(error.value) for key in keys)


def test_dimensions_that_cannot_be_built_are_listed_together():
    with pytest.raises(ConfigError) as error:
        ViT(size="tiny", mlp_ratio=0.0, drop_path=1.0, depth=0)
    assert [problem.split(":")[:2] for problem in error.value.problems] == [
        ["ViT", " depth = 0"],
        ["ViT", " mlp_ratio = 0.0"],
        ["ViT", " drop_path = 1.0"],
    ]
    with pytest.raises(ConfigError, match=r"^ViT: num_heads = 3: needs to divide width = 128$"):
        ViT(size="tiny", num_heads=3)


def test_after_inference_mode_it_still_trains_and_compiles():
    vit = ViT(size="tiny", depth=2)
    clip = torch.randn(2, 3, 4, 16, 16)
    with torch.inference_mode():
        before = vit(clip).clone()
    after = vit(clip)
    after.sum().backward()
    torch.testing.assert_close(after, before)
    compiled = torch.compile(vit, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(clip), after)


# ---- comparison backbones --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "num_frames", "original"),
    [
        ("slow_r50", 4, {"head_pool_kernel_size": (4, 2, 2)}),
        ("slowfast_r50", 8, {"head_pool_kernel_sizes": ((2, 2, 2), (8, 2, 2))}),
        ("x3d_s", 3, {"input_clip_length": 3, "input_crop_size": 64, "head_activation": None}),
        ("mvit_base_16x4", 4, {"temporal_size": 4, "spatial_size": 64}),
    ],
)
def test_the_original_head_on_our_feature_gives_its_logits(model, num_frames, original, quick_init):
    torch.manual_seed(0)
    backbone = PyTorchVideo(model=model, num_frames=num_frames, crop_px=64).eval()
    entry = ptv.MODELS[model]
    reference = entry.create(**entry.arguments, **original).eval()
    assert not any(isinstance(module, nn.Dropout) and module.p > 0 for module in backbone.net.modules())
    extra = reference.load_state_dict(backbone.net.state_dict(), strict=False)
    assert extra.unexpected_keys == [] and all(".proj." in name or "head.proj" in name for name in extra.missing_keys)
    classifier = reference.head.proj if hasattr(reference, "head") else reference.blocks[-1].proj
    clip = torch.randn(1, 3, num_frames, 64, 64)
    slow = torch.linspace(0, num_frames - 1, num_frames // 4).long()
    with torch.no_grad():
        logits = reference([clip[:, :, slow], clip.clone()] if model.startswith("slowfast") else clip)
        torch.testing.assert_close(classifier(backbone(clip)), logits, rtol=1e-4, atol=1e-5)


def test_the_slow_pathway_takes_the_published_frames():
    ramp = torch.arange(32.0).view(1, 1, 32, 1, 1)
    slow, fast = ptv._pathways(ramp)
    assert slow.flatten().tolist() == [0, 4, 8, 13, 17, 22, 26, 31]
    assert fast.flatten().tolist() == list(range(32))


def test_comparison_backbones_name_the_keys_of_a_wrong_clip():
    backbone = PyTorchVideo(model="x3d_xs", num_frames=2, crop_px=32)
    with pytest.raises(ConfigError, match=r"PyTorchVideo: num_frames = 4.*built for clips of 2 frames and 32 px"):
        backbone(torch.zeros(1, 3, 4, 32, 32))
    with pytest.raises(ConfigError, match=r"PyTorchVideo: num_frames = 6.*multiple of 4"):
        PyTorchVideo(model="slowfast_r50", num_frames=6)
    with pytest.raises(ConfigError, match=r"Timm: crop_px = \[64, 96\].*test_vit takes \[160, 160\] only"):
        Timm(model="test_vit").check_clip(8, 64, 96)
    with pytest.raises(ConfigError, match=r"Timm: model = 'resnet5O'.*did you mean .*resnet50"):
        Timm(model="resnet5O")


def test_learned_positions_keep_rows_and_columns():
    vit = ViT(size="tiny", width=8, depth=1, num_heads=1)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    vit.make_room({"space_positions": torch.stack([rows, columns] * 4, dim=-1)})
    with torch.no_grad():
        vit.space_positions.copy_(torch.stack([rows, columns] * 4, dim=-1))
    positions = vit.positions(vit.grid_THW(2, 32, 128), torch.device("cpu")).unflatten(0, (4, 16))
    assert (positions[..., 0].diff(dim=0) > 1).all() and positions[..., 0].diff(dim=1).abs().max() < 1e-4
    assert (positions[1:-1, 2:-2, 1].diff(dim=1) > 0.3).all() and positions[..., 1].diff(dim=0).abs().max() < 1e-4


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_timm_models_of_one_size_are_built_for_another(model, tmp_path):
    square, wide = Timm(model=model).eval(), Timm(model=model, crop_px=[112, 224]).eval()
    path = tmp_path / "square.safetensors"
    save_backbone(square, path, {})
    head = Head(wide.width, 2, batch_norm=False)
    report = load_backbone(Classifier(wide, head), read_weights(str(path)))
    moved = [
        note for note in report.notes if note.startswith("net.pos_embed interpolated from (1, 197, 192) to (1, 99")
    ]
    assert len(moved) == (model == "vit_tiny_patch16_224")
    timms = timm.create_model(model, num_classes=0, img_size=(112, 224)).eval()
    filtered = sys.modules[type(timms).__module__].checkpoint_filter_fn(square.net.state_dict(), timms)
    timms.load_state_dict(filtered)
    clip_BCTHW = torch.randn(1, 3, 1, 112, 224)
    torch.testing.assert_close(wide(clip_BCTHW), timms(clip_BCTHW[:, :, 0]))
    with pytest.raises(ConfigError, match=r"crop_px = \[224, 224\]: .* takes \[112, 224\] only"):
        wide.check_clip(8, 224, 224)


def test_timm_says_what_it_cannot_build():
    with pytest.raises(
        ConfigError, match=r"Timm: crop_px = \[100, 100\]: timm builds no twins_svt_small for this size"
    ):
        Timm(model="twins_svt_small", crop_px=100)


@pytest.mark.parametrize("model", ["slow_r50", "slowfast_r50", "mvit_base_16x4"])
def test_comparison_backbones_take_rectangles(model, quick_init):
    backbone = PyTorchVideo(model=model, num_frames=4, crop_px=[64, 96]).eval()
    backbone.check_clip(4, 64, 96)
    with torch.inference_mode():
        assert backbone(torch.zeros(1, 3, 4, 64, 96)).shape == (1, backbone.width)
    with pytest.raises(ConfigError, match=r"built for clips of 4 frames and 64 x 96 px"):
        backbone.check_clip(4, 96, 64)


@pytest.mark.parametrize("model", [
    "convnext_atto", "lcnet_035", "mobilenetv3_small_050", "resnet10t", "vgg11", "vit_tiny_patch16_224",
    *(pytest.param(name, marks=pytest.mark.slow) for name in (
        "densenet121", "dpn48b", "efficientnet_b0", "efficientvit_b0", "ghostnet_050", "hgnetv2_b0", "inception_next_atto",
        "mambaout_femto", "mobilenetv2_035", "mobilenetv4_conv_small_035", "nf_regnet_b0", "regnetx_002", "repghostnet_050",
        "resnet50_clip", "rexnet_100",
    )),
])  # fmt: skip
def test_the_width_is_that_of_what_timms_networks_return(model):
    """Several widen the map that they pool once more, in front of their classifier."""
    with torch.device("meta"):  # shapes alone
        side = timm.get_pretrained_cfg(model, allow_unregistered=False).input_size[1]
        backbone = Timm(model=model).eval()
        assert backbone(torch.zeros(1, 3, 2, side, side)).shape == (1, backbone.width)


def test_timm_features_are_averaged_over_frames():
    backbone = Timm(model="test_resnet").eval()
    clip = torch.randn(2, 3, 3, 64, 64)
    per_frame = torch.stack([backbone.net(clip[:, :, t]) for t in range(3)])
    torch.testing.assert_close(backbone(clip), per_frame.mean(0), rtol=1e-4, atol=1e-5)


def test_pytorchvideo_sees_what_its_weights_were_trained_with() -> None:
    """0.45 and 0.225 for each colour, of grey levels from 0 to 1."""
    torch.manual_seed(0)
    usual = PyTorchVideo(model="x3d_xs", num_frames=2, crop_px=32).eval()
    torch.manual_seed(0)
    both = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}
    zoo = PyTorchVideo(model="x3d_xs", num_frames=2, crop_px=32, **both).eval()
    levels = torch.rand(1, 3, 2, 32, 32)
    imagenet = (levels - torch.tensor(IMAGENET.mean).view(3, 1, 1, 1)) / torch.tensor(IMAGENET.std).view(3, 1, 1, 1)
    torch.testing.assert_close(zoo(imagenet), usual((levels - 0.45) / 0.225), rtol=1e-4, atol=1e-5)
    assert not zoo(imagenet).allclose(usual(imagenet), rtol=1e-3)
    assert zoo.normalisation.mean == (0.45, 0.45, 0.45) and usual.normalisation == IMAGENET
