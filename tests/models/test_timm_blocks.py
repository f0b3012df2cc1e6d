"""Adapters on timm's blocks, against timm's own code of the blocks and what the papers' equations add to it."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from tests.models.timm_models import FAMILIES, FRAMES, Family, blocks_in, build_small, clip_for, own_forward, small_net
from tests.toy_models import PLAIN, shake
from videoadapt.config.schema import ModelConfig
from videoadapt.errors import ConfigError
from videoadapt.models.adapters import build_adapter
from videoadapt.models.adapters.lora import LowRank
from videoadapt.models.compiling import compile_blocks
from videoadapt.models.memory import recompute_blocks
from videoadapt.models.parameters import parameter_table
from videoadapt.registry import BACKBONES
from videoadapt.runs.build import build_model

CLOSE = {"rtol": 0, "atol": 1e-6}
EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
BIASES_EVERYWHERE = ["ViT", "DeiT", "DeiT III", "SigLIP", "DINOv2, registers", "Swin", "Hiera"]
NO_PROMPTS = {"BEiT", "Swin", "Swin V2", "Hiera"}
TAKE_PROMPTS = [name for name in FAMILIES if name not in NO_PROMPTS]


@torch.no_grad()
def seen(model: Any, family: Family) -> list[tuple[Any, Tensor, dict[str, Any], Tensor]]:
    """What each block of the image model was given and returned: (block, x, further arguments, y)."""
    found: list[Any] = []
    handles = [
        block.register_forward_hook(lambda b, given, more, y: found.append((b, given[0], more, y)), with_kwargs=True)
        for block in blocks_in(model.backbone.net)
    ]
    model.backbone(clip_for(family))
    for handle in handles:
        handle.remove()
    return found


def into_mlp(block: Any, x: Tensor, **context: Any) -> Tensor:
    """What timm's block adds its MLP to, in the shape (B, N, D)."""
    without = copy.deepcopy(block)
    without.drop_path2 = Times(0.0)
    return own_forward(without, x, **context)


class Times(torch.nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


@EVERY
def test_without_an_adapter_every_number_is_timms(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model, net, clip = build_small(monkeypatch, family, {"name": "linear"}), small_net(family), clip_for(family)
    assert model.backbone.net.state_dict().keys() == net.state_dict().keys() and len(model.backbone.blocks) >= 2
    assert not list(model.backbone.blocks.parameters())
    with torch.no_grad():
        ours = model.backbone(clip)
        for block in blocks_in(model.backbone.net):
            del block.forward  # timm's own is below
        frames = clip.transpose(1, 2).flatten(0, 1)
        assert ours.equal(model.backbone.net(frames).unflatten(0, (2, FRAMES)).mean(1))


@EVERY
@pytest.mark.parametrize("form", ["parallel", "sequential"])
def test_adaptmlp_is_beside_or_behind_the_whole_branch(
    family: Family, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equation 2: LayerScale and norms of the branch do not touch what the adapter adds, which reads x before the norm."""
    model = build_small(monkeypatch, family, {"name": "adaptformer", "form": form, "bottleneck": 5})
    shake(model)
    for number, (block, x, context, y) in enumerate(seen(model, family)):
        adapter = model.backbone.blocks[number].mlp.adapter
        own, before = own_forward(block, x, **context), into_mlp(block, x, **context)
        read = before if form == "parallel" else own - before
        inner = F.relu(read @ adapter.down.weight.T + adapter.down.bias)
        torch.testing.assert_close(y, own + 0.1 * (inner @ adapter.up.weight.T + adapter.up.bias), rtol=0, atol=1e-5)
        assert not y.allclose(own, atol=1e-4)


@EVERY
def test_lora_on_all_targets_is_another_weight_of_timms_model(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"name": "lora", "rank": 2, "targets": ["q", "k", "v", "proj", "fc1", "fc2"]}
    merges_into_timms(build_small(monkeypatch, family, spec), spec, family)


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("ViT", r".*(attn\.(qkv|proj)|mlp\.fc[12])$", ["q", "k", "v", "proj", "fc1", "fc2"]),
        ("EVA-02 B, L", r".*\.[qv]_proj$", ["q", "v"]),
    ],
)
def test_lora_is_pefts(name: str, theirs: str, ours: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same factors; peft's joint layer has one factor below for q, k and v. On BEiT's `qkv` peft's does nothing."""
    peft = pytest.importorskip("peft", reason="compared with peft's own layers")
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=theirs, init_lora_weights=False)
    net, clip = peft.inject_adapter_in_model(config, small_net(FAMILIES[name])).eval(), clip_for(FAMILIES[name])
    model = build_small(monkeypatch, FAMILIES[name], {"name": "lora", "rank": 3, "alpha": 6, "targets": ours})
    layers = dict(net.named_modules())
    with torch.no_grad():
        for path, module in model.backbone.net.named_modules():
            if isinstance(module, LowRank):
                layer = layers[path.removesuffix(".adapter")]
                module.down.copy_(layer.lora_A["default"].weight.expand_as(module.down))
                module.up.copy_(layer.lora_B["default"].weight.view_as(module.up))
        expected = net(clip.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, FRAMES)).mean(1)
        torch.testing.assert_close(model.backbone(clip), expected, **CLOSE)


def merges_into_timms(model: Any, spec: Any, family: Family) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    net, clip = small_net(family), clip_for(family)
    frames = clip.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        adapted = model.backbone(clip)
        assert not adapted.allclose(net(frames).unflatten(0, (2, FRAMES)).mean(1), atol=1e-4)
        build_adapter(spec).merge(model.backbone)
        net.load_state_dict({name.removeprefix("net."): t for name, t in model.backbone.state_dict().items()})
        torch.testing.assert_close(net(frames).unflatten(0, (2, FRAMES)).mean(1), adapted, rtol=1e-5, atol=5e-6)


@EVERY
def test_ssf_scales_and_shifts_with_the_bias(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """It merges where each layer has a bias, and is refused elsewhere, as where the attention adds the bias itself."""
    model = build_small(monkeypatch, family, {"name": "ssf"})
    if family in [FAMILIES[name] for name in BIASES_EVERYWHERE]:
        return merges_into_timms(model, {"name": "ssf"}, family)
    with pytest.raises(ConfigError, match="no bias that could hold the shift"):
        build_adapter({"name": "ssf"}).merge(model.backbone)
    block = blocks_in(model.backbone.net)[0]
    attention, layer = block.attn, "qkv" if block.attn.qkv is not None else "q_proj"
    place, bias = getattr(attention, layer), getattr(attention, "q_bias", None)
    x = torch.randn(1, 4, block.norm1.branch.weight.shape[0])
    whole = torch.cat((bias, attention.k_bias, attention.v_bias)) if bias is not None else None
    with torch.no_grad():
        plain = place.branch(x) if whole is None else F.linear(x, place.branch.weight, whole)
        out = place(x) if whole is None else place(x) + whole
        torch.testing.assert_close(out, place.adapter.scale * plain + place.adapter.shift, **CLOSE)


def prompted(monkeypatch: pytest.MonkeyPatch, name: str, form: str) -> Any:
    spec = {"name": "vpt", "form": form, "num_tokens": 3}
    return build_small(monkeypatch, FAMILIES[name], spec)


@pytest.mark.parametrize("name", TAKE_PROMPTS)
@pytest.mark.parametrize("form", ["deep", "shallow"])
def test_prompts_move_no_position(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody may look at the prompts, the image's tokens leave each block as without them, rotary positions included."""
    model = prompted(monkeypatch, name, form)
    plain = build_small(monkeypatch, FAMILIES[name], {"name": "linear"})
    bare = seen(plain, FAMILIES[name])
    num_tokens = bare[0][1].shape[1]
    mask = torch.ones(num_tokens + 3, num_tokens + 3, dtype=torch.bool)
    mask[:, :3] = False
    for block, (_, x, context, y) in zip(blocks_in(model.backbone.net), bare, strict=True):
        if form == "shallow":  # then they come with the tokens, but for the first block
            x = x if block is blocks_in(model.backbone.net)[0] else F.pad(x, (0, 0, 3, 0), value=0.7)
        out = block(x, **(context | {"attn_mask": mask}))[:, -num_tokens:]
        torch.testing.assert_close(out, y, rtol=0, atol=1e-5)
        assert not block(x, **context)[:, -num_tokens:].allclose(y, atol=1e-4)


@pytest.mark.parametrize("name", sorted(NO_PROMPTS))
def test_where_positions_are_of_pairs_prompts_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"^adapter vpt: backbone timm, model = .* takes no tokens in front of an image's: its"
    ):
        build_small(monkeypatch, FAMILIES[name], {"name": "vpt"})


@pytest.mark.parametrize("name", ["DINOv2, registers", "DeiT", "Swin", "Swin V2"])
@pytest.mark.parametrize("kernel", [(3, 1, 1), (3, 3, 5)])
def test_st_adapter_sees_the_frames_of_a_clip(
    name: str, kernel: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its convolution is over (time, rows, columns) of each clip, and what stands in front of the patches gets nothing."""
    family = FAMILIES[name]
    model = build_small(monkeypatch, family, {"name": "st_adapter", "bottleneck": 4, "kernel": list(kernel)})
    shake(model)
    for number, (block, x, context, y) in enumerate(seen(model, family)):
        grid = x if x.ndim == 4 else x[:, in_front(family) :].unflatten(1, (2, 2))
        adapter = model.backbone.blocks[number].attn.adapter
        inner_BRTHW = adapter.down(grid).unflatten(0, (2, FRAMES)).permute(0, 4, 1, 2, 3)
        added = adapter.up(adapter.conv(inner_BRTHW).permute(0, 2, 3, 4, 1)).flatten(0, 1)
        if x.ndim == 3:
            added = F.pad(added.flatten(1, 2), (0, 0, in_front(family), 0))
        torch.testing.assert_close(y, own_forward(block, x + added, **context), rtol=0, atol=1e-5)


def in_front(family: Family) -> int:
    """DINOv2's class token and four registers; DeiT's class and distillation tokens."""
    return 5 if "dinov2" in family.model else 2


def test_hiera_takes_st_adapter_where_its_tokens_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    family, spec = FAMILIES["Hiera"], {"name": "st_adapter", "bottleneck": 4, "before": ["mlp"]}
    with pytest.raises(ConfigError, match=r"before = \['attn'\]: the attn of some blocks pools their tokens"):
        build_small(monkeypatch, family, spec | {"before": ["attn"]})
    with pytest.raises(ConfigError, match=r"kernel = \(3, 3, 3\): .* not in order in space"):
        build_small(monkeypatch, family, spec | {"kernel": [3, 3, 3]})
    model = build_small(monkeypatch, family, spec)
    shake(model)
    for number, (block, x, _, y) in enumerate(seen(model, family)):
        adapter, before = model.backbone.blocks[number].mlp.adapter, into_mlp(block, x)
        over_time = adapter.conv(adapter.down(before).unflatten(0, (2, FRAMES)).permute(0, 3, 1, 2)[..., None])
        added = adapter.up(over_time[..., 0].permute(0, 2, 3, 1)).flatten(0, 1)
        behind = before + added
        torch.testing.assert_close(y, behind + block.mlp(block.norm2(behind)), rtol=0, atol=1e-5)


@EVERY
def test_attentive_probe_sees_all_tokens_of_all_frames(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_small(monkeypatch, family, {"name": "attentive_probe"})
    clip = clip_for(family)
    with torch.no_grad():
        tokens = model.backbone.net.forward_features(clip.transpose(1, 2).flatten(0, 1))
        expected = model.backbone.pool.adapter(tokens.reshape(2, -1, model.backbone.width))
        torch.testing.assert_close(model.backbone(clip), expected, **CLOSE)


def test_a_copy_has_blocks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["EVA-02 Ti, S"]
    model = build_small(monkeypatch, family, [{"name": "adaptformer"}, {"name": "vpt"}, {"name": "lora"}])
    other = copy.deepcopy(model)
    clip = clip_for(family)
    with torch.no_grad():
        before = model(clip)
        shake(model)
        assert other(clip).equal(before) and not model(clip).allclose(before, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("vit_small_patch16_18x2_224", "its blocks are ParallelThingsBlock"),
        ("vit_base_patch16_xp_224", "its blocks are ParallelScalingBlock"),
        ("test_efficientnet", "EfficientNet is none of timm's VisionTransformer, "),
    ],
)
def test_blocks_that_are_not_known_are_named(model: str, why: str) -> None:
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match=rf"^adapter lora: needs blocks .*timm does not offer \({why}"),
    ):
        build_adapter({"name": "lora"}).attach(BACKBONES.build({"name": "timm", "model": model}))


@pytest.mark.parametrize(
    ("adapter", "published"),
    [
        ({"name": "adaptformer", "bottleneck": 64}, 1_189_632),
        ({"name": "lora", "rank": 8}, 294_912),
        ({"name": "vpt", "num_tokens": 8}, 73_728),
        ({"name": "st_adapter", "bottleneck": 64}, 1_192_704),
    ],
)
def test_vit_b_of_timm_trains_as_many_numbers_as_ours(adapter: dict[str, Any], published: int) -> None:
    spec = ModelConfig(backbone={"name": "timm", "model": "vit_base_patch16_224"}, adapter=adapter, head=PLAIN)
    with torch.device("meta"):
        model = build_model(spec, 5, 8, 224)
    assert {row.group: row.num_parameters for row in parameter_table(model)}["adapter"] == published


RECOMPUTED = [{"name": "adaptformer", "bottleneck": 4}, {"name": "vpt"}]


def losses_and_gradients(model: Any, family: Family) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)
    loss = model.train()(clip_for(family)).square().sum()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["ViT", "EVA-02 Ti, S", "Swin", "Hiera"])
def test_blocks_are_computed_anew_for_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES[name]
    plain = build_small(monkeypatch, family, RECOMPUTED[:1] if name in NO_PROMPTS else RECOMPUTED)
    shake(plain)
    anew = copy.deepcopy(plain)
    recompute_blocks(anew)
    calls: list[int] = []
    blocks_in(anew.backbone.net)[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    (loss, expected), (again, found) = losses_and_gradients(plain, family), losses_and_gradients(anew, family)
    assert torch.equal(loss, again) and expected.keys() == found.keys() and len(calls) == 2
    for key, gradient in expected.items():
        assert torch.equal(gradient, found[key]), key


@pytest.mark.parametrize(("name", "adapter", "graphs"), [("ViT", "full", 3), ("DINOv3", "adaptformer", 4)])
def test_all_blocks_of_one_shape_are_one_compiled_graph(
    name: str, adapter: str, graphs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More blocks than the eight graphs after which torch.compile gives up.

    Patches have one, too, and the last block, whose MLP reads the class token alone. In front of the first adapter nothing
    trains.
    """
    torch.compiler.reset()
    counter, family = CompileCounterWithBackend("aot_eager"), FAMILIES[name]
    plain = build_small(monkeypatch, family, {"name": adapter}, depth=10)
    shake(plain)
    compiled = copy.deepcopy(plain)
    compile_blocks(compiled, backend=counter)
    (loss, expected), (again, found) = losses_and_gradients(plain, family), losses_and_gradients(compiled, family)
    assert counter.frame_count == graphs
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=0)  # another order of the same sums
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


@EVERY
def test_tokens_keep_the_precision_of_autocast(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where positions and LayerScale in float32 would make all of them float32, and every pass over them twice as long."""
    model = build_small(monkeypatch, family, [{"name": "adaptformer", "bottleneck": 4}])
    with torch.no_grad():
        expected = model.backbone(clip_for(family))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        through = seen(model, family)
        with torch.no_grad():
            found = model.backbone(clip_for(family))
    assert {y.dtype for _, _, _, y in through} == {torch.bfloat16}  # of what every block returns
    off = (found.float() - expected).norm() / expected.norm()
    assert off < 0.03  # bf16 has 8 bits: 0.4 % at each of some ten roundings


ALONE: list[dict[str, Any]] = [
    {"name": "full"}, {"name": "adaptformer"}, {"name": "adaptformer", "form": "sequential"}, {"name": "houlsby"},
    {"name": "adapter_plus", "drop_path": 0.0}, {"name": "lora", "targets": ["q", "fc1", "fc2"]}, {"name": "ssf"},
    {"name": "bitfit"}, {"name": "aim", "bottleneck": 4}, {"name": "st_adapter", "bottleneck": 4, "before": ["attn"]},
]  # fmt: skip
MIXING: list[dict[str, Any]] = [
    {"name": "st_adapter", "bottleneck": 4, "before": ["attn", "mlp"]}, {"name": "vpt", "num_tokens": 2},
    {"name": "attentive_probe", "num_heads": 2},
    [{"name": "adaptformer"}, {"name": "st_adapter", "bottleneck": 4, "before": ["mlp"]}],
]  # fmt: skip


@pytest.mark.parametrize("name", ["ViT", "DeiT", "CLIP", "DINOv2, registers", "EVA-02 Ti, S", "BEiT", "SigLIP"])
@pytest.mark.parametrize("spec", ALONE + MIXING, ids=str)
def test_a_trained_mlp_reads_what_is_pooled(name: str, spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block's, where one token is the feature: the same features and gradients as with all of them."""
    family = FAMILIES[name]
    if name in NO_PROMPTS and isinstance(spec, dict) and spec["name"] in ("vpt", "aim"):
        pytest.skip("takes no prompts, and no tokens over time")
    model = build_small(monkeypatch, family, spec)
    shake(model)
    backbone, read = model.backbone, []
    mlp = blocks_in(backbone.net)[-1].mlp
    mlp.register_forward_pre_hook(lambda _, given: read.append(given[0].shape[1]))
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    backbone.eval()(clip_for(family))  # predictions, and who explains them, have all
    backbone.train()
    features, gradients = [], []
    for whole in (False, True):
        if whole:
            monkeypatch.setattr(type(backbone), "_read_tokens", lambda self: None)
        features.append(backbone(clip_for(family)))
        loss = (features[-1] * torch.linspace(-1, 2, features[-1].shape[1])).sum()
        gradients.append(torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(*features, **CLOSE)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    pools_one = name not in ("SigLIP", "BEiT", "EVA-02 Ti, S")
    in_front = backbone.net.num_prefix_tokens
    assert read == [read[0], in_front if pools_one and spec in ALONE else read[0], read[0]] and read[0] > in_front
