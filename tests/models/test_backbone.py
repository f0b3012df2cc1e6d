"""What every backbone promises: which layer of it a parameter belongs to, as the gradients say it, and what mixes tokens."""

from typing import Any

import pytest
import pytorchvideo.models.net
import pytorchvideo.models.vision_transformers
import torch
from torch import Tensor, nn

from videoadapt.models.adapters._base import AdapterModule, Parallel, Serial
from videoadapt.models.adapters.adaptformer import Bottleneck
from videoadapt.models.backbone import Backbone, each_token_alone, is_chain
from videoadapt.models.backbones._layers import Branch
from videoadapt.registry import BACKBONES

PTV = {"num_frames": 4, "crop_px": 64}
# Instances of every registered backbone that are chains of blocks, the clip (T, H, W) they are shown, and their blocks.
CHAINS: list[tuple[dict[str, Any], tuple[int, int, int], Any]] = [
    ({"name": "vit", "size": "tiny", "depth": 3, "patch_px": 16}, (4, 32, 32), lambda b: b.blocks),
    (
        {"name": "vjepa2", "version": "v2.1", "width": 32, "depth": 3, "num_heads": 2},
        (4, 32, 32),
        lambda b: b.blocks,
    ),
    ({"name": "timm", "model": "test_vit"}, (1, 160, 160), lambda b: b.net.blocks),
    ({"name": "timm", "model": "test_efficientnet"}, (1, 64, 64), lambda b: b.net.blocks),
    ({"name": "pytorchvideo", "model": "slow_r50", **PTV}, (4, 64, 64), lambda b: b.net.blocks[1:5]),
    ({"name": "pytorchvideo", "model": "slowfast_r50", **PTV}, (4, 64, 64), lambda b: b.net.blocks[1:5]),
    ({"name": "pytorchvideo", "model": "x3d_xs", **PTV}, (4, 64, 64), lambda b: b.net.blocks[1:5]),
    (
        {"name": "pytorchvideo", "model": "mvit_base_16x4", "num_frames": 2, "crop_px": 32},
        (2, 32, 32),
        lambda b: b.net.blocks,
    ),
]


@pytest.fixture
def quick_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave PyTorchVideo's layers as torch initialises them: its own way takes seconds a network."""
    for module in (pytorchvideo.models.net, pytorchvideo.models.vision_transformers):
        monkeypatch.setattr(module, "init_net_weights", lambda *args, **kwargs: None)


def test_no_backbone_is_left_out() -> None:
    assert {spec["name"] for spec, _, _ in CHAINS} == set(BACKBONES.names()), "add yours to CHAINS"


@pytest.mark.parametrize(
    ("spec", "thw", "blocks_of"), CHAINS, ids=[spec.get("model", spec["name"]) for spec, _, _ in CHAINS]
)
def test_a_parameter_is_where_its_gradient_comes_from(
    spec: dict[str, Any], thw: tuple[int, int, int], blocks_of: Any, quick_init: None
) -> None:
    backbone: Backbone = BACKBONES.build(spec)
    blocks = list(blocks_of(backbone))
    assert is_chain(backbone) and backbone.depth == len(blocks)
    found = {name: backbone.layer_of(name) for name, _ in backbone.named_parameters()}
    assert found == measured_layers(backbone, blocks, torch.randn(1, 3, *thw))
    assert {0, *range(1, len(blocks) + 1)} <= set(found.values())


def test_blocks_with_layers_between_them_are_no_chain() -> None:
    twins = BACKBONES.build({"name": "timm", "model": "twins_pcpvt_small"})  # embeds its patches anew before each stage
    assert not is_chain(twins) and hasattr(twins.net, "blocks")


def measured_layers(backbone: Backbone, blocks: list[nn.Module], clip: Tensor) -> dict[str, int]:
    """The first block whose output depends on a parameter; what the first one's input depends on stands in front."""
    seen: list[Tensor] = []
    blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(total(inputs)))
    for block in blocks:
        block.register_forward_hook(lambda _, inputs, output: seen.append(total(output)))
    backbone.eval()(clip)
    names, parameters = zip(*backbone.named_parameters(), strict=True)
    layers = dict.fromkeys(names, len(blocks) + 1)
    for number in reversed(range(len(seen))):
        gradients = torch.autograd.grad(seen[number], parameters, retain_graph=True, allow_unused=True)
        layers |= {name: number for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
    return layers


def total(value: Any) -> Tensor:
    """One number that depends on every tensor in nested tuples and lists."""
    if isinstance(value, Tensor):
        return value.sum() if value.requires_grad else torch.zeros(())
    parts = [total(part) for part in value if isinstance(part, Tensor | list | tuple)]
    return torch.stack([torch.zeros(()), *parts]).sum()


@pytest.mark.parametrize("around", [Parallel, Serial])
def test_what_is_not_known_may_mix_tokens(around: type[Parallel]) -> None:
    branch, alone = Branch(nn.Identity(), 4, 1e-6, 0.0), Bottleneck(4, 2, 1.0, 0.0)
    assert each_token_alone(branch) and each_token_alone(around(Parallel(branch, alone), alone))
    assert not each_token_alone(around(branch, AdapterModule()))
    assert not each_token_alone(Parallel(around(branch, AdapterModule()), alone))
