"""Adapters: what they compute, what trains, and that every registered one fits the backbones it says it fits."""

import copy
import math

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.toy_models import CLIP, PLAIN, RESNET, build, shake
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import ConfigError
from videoadapt.models.adapters._base import AdapterModule, Parallel, Serial
from videoadapt.models.adapters.adaptformer import AdaptFormer, Bottleneck
from videoadapt.models.adapters.full import Full
from videoadapt.models.adapters.linear import Linear
from videoadapt.models.adapters.lora import Beside, LowRank, OneProduct
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import Head
from videoadapt.models.parameters import freeze, parameter_table
from videoadapt.registry import ADAPTERS
from videoadapt.runs.build import build_model


@pytest.mark.parametrize("name", ["linear", "full"])
@pytest.mark.parametrize(
    "backbone",
    [RESNET, {"name": "pytorchvideo", "model": "x3d_xs", "num_frames": 4, "crop_px": 32}],
    ids=lambda b: b["name"],
)
def test_batch_norm_of_backbones_moves_only_when_it_trains(name, backbone):
    size = 32 if backbone["name"] == "pytorchvideo" else 64
    torch.manual_seed(0)
    spec = ModelConfig(backbone=backbone, adapter={"name": name}, head=PLAIN)
    model = build_model(spec, 5, 4, size).train()
    before = copy.deepcopy(model.state_dict())
    model(torch.randn(2, 3, 4, size, size)).sum().backward()
    moved = [key for key, tensor in model.state_dict().items() if not tensor.equal(before[key])]
    statistics = [key for key in before if key.startswith("backbone.") and "running_" in key]
    assert statistics
    if name == "linear":
        assert moved == []
        assert all(parameter.grad is None for parameter in model.backbone.parameters())
    else:
        assert set(moved) >= set(statistics)
        assert all(parameter.grad is not None for parameter in model.backbone.parameters())


@pytest.mark.parametrize("form", ["parallel", "sequential"])
def test_adaptformer_starts_as_the_linear_probe(form):
    linear = build({"name": "linear"}).eval()
    adapted = build({"name": "adaptformer", "form": form}).eval()
    plain = {
        key.replace(".branch.", "."): tensor for key, tensor in adapted.state_dict().items() if ".adapter." not in key
    }
    linear.load_state_dict(plain)
    assert adapted(CLIP).equal(linear(CLIP))


def test_bottleneck_is_equation_two():
    torch.manual_seed(0)
    bottleneck = Bottleneck(8, 3, 0.1, 0.0)
    shake(bottleneck)
    x = torch.randn(2, 5, 8)
    hidden = (x @ bottleneck.down.weight.T + bottleneck.down.bias).clamp(min=0)
    expected = 0.1 * (hidden @ bottleneck.up.weight.T + bottleneck.up.bias)
    torch.testing.assert_close(bottleneck(x), expected)


def test_bottleneck_starts_kaiming_uniform_below_and_zero_above():
    torch.manual_seed(0)
    bottleneck = Bottleneck(256, 64, 0.1, 0.0)
    bound = 1 / math.sqrt(256)  # gain sqrt(2 / (1 + 5)) times sqrt(3 / fan_in)
    weight = bottleneck.down.weight
    assert weight.abs().max() <= bound and weight.abs().max() > 0.99 * bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not any(zero.any() for zero in (bottleneck.down.bias, bottleneck.up.weight, bottleneck.up.bias))


def test_dropout_acts_on_the_bottleneck_after_relu():
    bottleneck = Bottleneck(6, 6, 1.0, 0.5)
    for layer in (bottleneck.down, bottleneck.up):
        nn.init.eye_(layer.weight)
    out = bottleneck(torch.tensor([[1.0, 2.0, 3.0, -1.0, -2.0, -3.0]]).repeat(500, 1))
    assert set(out[:, :3].unique().tolist()) == {0.0, 2.0, 4.0, 6.0} and not out[:, 3:].any()
    assert (out[:, 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert bottleneck.eval()(torch.ones(1, 6)).equal(torch.ones(1, 6))


def test_parallel_reads_the_input_and_serial_the_branch():
    branch = nn.LayerNorm(4)
    adapter = Bottleneck(4, 2, 0.5, 0.0)
    shake(adapter)
    x = torch.randn(3, 4)
    torch.testing.assert_close(Parallel(branch, adapter)(x), branch(x) + adapter(x))
    torch.testing.assert_close(Serial(branch, adapter)(x), branch(x) + adapter(branch(x)))


def test_a_learned_scale_starts_at_one_and_trains():
    model = build({"name": "adaptformer", "scale": "learnable"})
    shake(model)
    fixed = build({"name": "adaptformer", "scale": 1.0})
    scales = [module.scale for module in model.modules() if isinstance(module, Bottleneck)]
    assert [scale.shape for scale in scales] == [(1,)] * 3
    fixed.load_state_dict({key: tensor for key, tensor in model.state_dict().items() if not key.endswith(".scale")})
    with torch.no_grad():
        for scale in scales:
            scale.fill_(1)
    torch.testing.assert_close(model(CLIP), fixed(CLIP))
    model(CLIP)[:, 0].sum().backward()
    assert all(scale.grad.any() for scale in scales)
    assert Bottleneck(4, 2, "learnable", 0.0).scale.item() == 1


def test_chosen_blocks_only():
    model = build({"name": "adaptformer", "blocks": [2, 0]})
    assert [isinstance(block.mlp, Parallel) for block in model.backbone.blocks] == [True, False, True]
    for blocks in ([3], [-1], [0, 0], []):
        with pytest.raises(ConfigError, match=r"model\.adapter\.blocks = .*from 0 to 2, or null"):
            build({"name": "adaptformer", "blocks": blocks})


def test_bad_arguments_are_named_together():
    with pytest.raises(ConfigError) as error:
        AdaptFormer(bottleneck=0, dropout=1.0)
    assert error.value.problems == [
        "AdaptFormer: bottleneck = 0: input should be greater than or equal to 1",
        "AdaptFormer: dropout = 1.0: input should be less than 1",
    ]


def test_an_adapter_that_does_not_fit_names_both():
    with pytest.raises(ConfigError, match=r"^adapter adaptformer: needs blocks .* backbone timm does not offer"):
        build_model(ModelConfig(backbone=RESNET, adapter={"name": "adaptformer"}, head=PLAIN), 5, 4, 64)
    with pytest.raises(ConfigError, match="backbone timm does not offer"):  # it has blocks, unlike ours
        spec = ModelConfig(backbone={"name": "timm", "model": "test_efficientnet"}, adapter={"name": "adaptformer"})
        build_model(spec, 5, 4, 64)


# ---- counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_classes", "published_millions"), [(51, 1.230), (174, 1.325)])
def test_vit_base_trains_as_many_parameters_as_published(num_classes, published_millions):
    adapter = AdaptFormer(bottleneck=64)
    with torch.device("meta"):
        vit = ViT(size="base")
        model = Classifier(vit, Head(768, num_classes, batch_norm=True, sync=False, dropout=0.0, init_std=0.01))
        adapter.attach(vit)
    freeze(model, vit, adapter)
    counts = {row.group: row.num_parameters for row in parameter_table(model) if row.trainable}
    adapters = 12 * (2 * 64 * 768 + 64 + 768)
    assert counts == {"adapter": adapters, "fc_norm": 2 * 768, "head": 768 * num_classes + num_classes}
    assert round(adapters / 1e6, 3) == 1.190
    assert round(sum(counts.values()) / 1e6, 3) == published_millions


@pytest.mark.parametrize(
    ("adapter", "groups"),
    [
        (Linear(), ["backbone (frozen)", "fc_norm", "head"]),
        (Full(), ["backbone", "fc_norm", "head"]),
        (AdaptFormer(bottleneck=2), ["backbone (frozen)", "adapter", "fc_norm", "head"]),
    ],
)
def test_the_table_covers_every_parameter_once(adapter, groups):
    vit = ViT(size="tiny", depth=2)
    model = Classifier(vit, Head(128, 5, batch_norm=True, sync=False, dropout=0.0, init_std=0.01))
    trunk = sum(parameter.numel() for parameter in vit.parameters())
    adapter.attach(vit)
    freeze(model, vit, adapter)
    rows = parameter_table(model)
    assert [row.group for row in rows] == groups
    assert rows[0].num_parameters == trunk
    assert sum(row.num_parameters for row in rows) == sum(parameter.numel() for parameter in model.parameters())
    assert sum(row.share for row in rows) == pytest.approx(1)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert sum(row.num_parameters for row in rows if row.trainable) == trained


def test_the_trainable_set_is_decided_by_type():
    class Shift(AdapterModule):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.zeros(32))

        def forward(self, x_BND):
            return self.by.expand_as(x_BND)

    vit = ViT(size="tiny", width=32, depth=2, num_heads=2)
    vit.blocks[1].attn = Parallel(vit.blocks[1].attn, Shift())
    model = Classifier(vit, Head(32, 5, batch_norm=False, sync=False, dropout=0.0, init_std=0.01))
    freeze(model, vit, Linear())
    trained = [name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad]
    assert trained == ["blocks.1.attn.adapter.by"]


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        ({"name": "lora"}, 12 * 2 * 8 * (768 + 768)),
        ({"name": "lora", "rank": 4, "targets": ["k", "proj", "fc1", "fc2"]}, 12 * 4 * (1536 * 2 + 3840 * 2)),
        ({"name": "bitfit"}, 12 * (2 * 768 + 2 * 768 + 768 + 3072 + 768) + 768),
        ({"name": "vpt"}, 12 * 8 * 768),
        ({"name": "vpt", "form": "shallow", "num_tokens": 5}, 5 * 768),
        ({"name": "ssf"}, 12 * 2 * (2 + 3 + 1 + 4 + 1) * 768 + 2 * 768),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else str(value),
)
def test_trained_numbers_of_vit_b(adapter, expected):
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone={"name": "vit"}, adapter=adapter, head=PLAIN), 5, 8, 224)
    trained = [p.numel() for name, p in model.named_parameters() if p.requires_grad and name.startswith("backbone.")]
    assert sum(trained) == expected


@pytest.mark.parametrize(
    "adapter",
    [
        {"name": "lora", "targets": ["q"]},
        {"name": "lora", "targets": ["k", "v", "fc2"], "blocks": [1]},
        {"name": "lora", "targets": ["q", "k", "v", "proj", "fc1", "fc2"], "alpha": 3.0},
        {"name": "ssf"},
        {"name": "bitfit"},
    ],
    ids=str,
)
def test_merging_changes_no_logit(adapter):
    model = build(adapter).eval()
    shake(model)
    before = model(CLIP)
    ADAPTERS.build(adapter).merge(model.backbone)
    assert not any("adapter" in name or "branch" in name for name in model.state_dict())
    torch.testing.assert_close(model(CLIP), before, rtol=0, atol=1e-5)


def test_what_cannot_be_merged_says_why():
    with pytest.raises(ConfigError, match="AdaptMLP has a ReLU"):
        AdaptFormer().merge(build({"name": "adaptformer"}).backbone)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"targets": []}, {"targets": ["q", "q"]}, {"dropout": 1.0}], ids=str)
def test_lora_refuses_nonsense(wrong):
    with pytest.raises(ConfigError, match=f"^LoRA: {next(iter(wrong))} = "):
        ADAPTERS.build({"name": "lora"} | wrong)


def test_vpt_keeps_its_tokens_out_of_the_feature():
    deep, shallow = build({"name": "vpt"}), build({"name": "vpt", "form": "shallow"})
    assert [hasattr(block, "branch") for block in shallow.backbone.blocks] == [True, False, True]
    for model in (deep, shallow):
        assert model.backbone.forward_tokens(CLIP).shape == (4, model.backbone.embed(CLIP).shape[1], 32)


@pytest.mark.parametrize("form", ["deep", "shallow"])
def test_vpt_is_attention_over_its_tokens_and_the_clip(form):
    """Written out without wrappers: the tokens in front, dropped after each block or at the end."""
    model = build({"name": "vpt", "num_tokens": 3, "form": form}).eval()
    wrapped = list(model.backbone.blocks)
    blocks = [getattr(block, "branch", block) for block in wrapped]
    x = model.backbone.embed(CLIP)
    for index, block in enumerate(blocks):
        if form == "deep" or index == 0:
            x = torch.cat([wrapped[index].adapter.tokens.expand(4, -1, -1), x], dim=1)
        x = block(x)
        if form == "deep" or index == len(blocks) - 1:
            x = x[:, 3:]
    torch.testing.assert_close(model.backbone.forward_tokens(CLIP), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("parts", "chosen"), [(3, [0, 2]), (3, [2, 0, 1]), (3, [1]), (1, [0])])
@pytest.mark.parametrize("has_bias", [True, False])
def test_one_product_is_layer_and_low_rank(parts: int, chosen: list[int], has_bias: bool) -> None:
    """What a training on a GPU calls: the same sum, and the same gradients of x and of both factors."""
    torch.compiler.reset()
    torch.manual_seed(0)
    layer = nn.Linear(8, 12, bias=has_bias).double().requires_grad_(False)
    low_rank = LowRank(8, 12, parts, chosen, rank=2, scale=1.5, dropout=0.0).double()
    nn.init.normal_(low_rank.up)
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    expected = Beside(layer, low_rank)(x)
    weights = torch.randn_like(expected)
    wanted = (x, low_rank.down, low_rank.up)
    gradients = torch.autograd.grad(expected, wanted, weights)

    def one_product(x: torch.Tensor) -> torch.Tensor:
        up = low_rank.scale * low_rank.up
        return OneProduct.apply(x, layer.weight, layer.bias, low_rank.down, up, tuple(chosen))

    for called in (one_product, torch.compile(one_product, backend="aot_eager")):
        found = called(x)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found, wanted, weights), gradients)
        of_factors = torch.autograd.grad(called(x.detach()), wanted[1:], weights)  # of the lowest block
        torch.testing.assert_close(of_factors, gradients[1:])


@pytest.mark.parametrize("trained", ["", "weight", "bias"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("rank", [1, 4])
def test_one_product_is_for_frozen_layers_on_a_gpu(
    trained: str, dropout: float, device: str, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tensors without numbers, which need no GPU. Two ranks of 1 make rows of 10 numbers, for which products are slow."""
    monkeypatch.setattr(OneProduct, "apply", lambda x, *given: x)
    with FakeTensorMode(), torch.device(device):
        layer = nn.Linear(8, 12).requires_grad_(False)
        if trained:
            getattr(layer, trained).requires_grad_()
        both, x = Beside(layer, LowRank(8, 12, 3, [0, 2], rank, scale=2.0, dropout=dropout)), torch.empty(3, 8)
        assert (both(x) is x) == (device == "cuda" and not trained and not dropout and rank == 4)
        with torch.no_grad():
            assert both(x) is not x
        assert both.eval()(x) is not x  # as in a pass that is explained


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("trained", ["", "weight", "bias"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_gpu_makes_one_product_of_frozen_layers(
    trained: str, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(OneProduct, "apply", lambda *given, apply=OneProduct.apply: calls.append(1) or apply(*given))
    layer = nn.Linear(64, 192).requires_grad_(False)
    if trained:
        getattr(layer, trained).requires_grad_()
    both = Beside(layer, LowRank(64, 192, 3, [0, 2], rank=4, scale=2.0, dropout=dropout))
    nn.init.normal_(both.adapter.up)
    on_gpu, x = copy.deepcopy(both).cuda(), torch.randn(3, 7, 64)
    fused = not trained and not dropout
    found = on_gpu(x.cuda()).cpu()
    assert len(calls) == fused
    if not dropout:
        torch.testing.assert_close(found, both(x), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        on_gpu(x.cuda())
    assert len(calls) == fused  # predictions are as they were
