"""Parameter groups carry the right rates and decays."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from videoadapt.config.schema import ModelConfig, OptimConfig
from videoadapt.errors import ConfigError
from videoadapt.models.backbone import Backbone
from videoadapt.runs.build import build_model
from videoadapt.training.optimizer import build_optimizer, set_learning_rate


def test_a_group_without_a_scale_gets_the_rate_itself() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr_scale": 0.5}], lr=0.0)
    set_learning_rate(optimizer, 0.3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.15]


class Blocks(Backbone):
    depth = 3

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Linear(2, 2)
        self.pool = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))

    def layer_of(self, parameter: str) -> int:
        part, number, *_ = parameter.split(".")
        return int(number) + 1 if part == "blocks" else {"patch_embed": 0, "pool": 4}[part]


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Blocks()
        self.fc_norm = nn.LayerNorm(2)
        self.head = nn.Linear(2, 2)


def test_layer_decay_and_weight_decay_groups() -> None:
    model = Tiny()
    model.backbone.blocks[1].requires_grad_(False)
    optimizer = build_optimizer(model, model.backbone, OptimConfig(name="adamw", layer_decay=0.5, weight_decay=0.05))
    set_learning_rate(optimizer, 1.0)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    expected = {
        model.backbone.patch_embed.weight: (0.5**4, 0.05),
        model.backbone.patch_embed.bias: (0.5**4, 0.0),
        model.backbone.blocks[0].weight: (0.5**3, 0.05),
        model.backbone.blocks[2].bias: (0.5, 0.0),
        model.backbone.pool.weight: (1.0, 0.05),
        model.fc_norm.weight: (1.0, 0.0),
        model.head.weight: (1.0, 0.05),
    }
    assert {p: found[id(p)] for p in expected} == expected
    assert len(found) == sum(p.requires_grad for p in model.parameters())


def test_layers_that_nobody_numbered_are_not_guessed() -> None:
    backbone = Backbone()
    backbone.depth = 3  # says that it is a chain of blocks, and not which parameter stands where
    with pytest.raises(ConfigError, match=r"^optim.layer_decay = 0.5: needs a backbone that is a plain chain"):
        build_optimizer(nn.Module(), backbone, OptimConfig(layer_decay=0.5))


def test_groups_of_timm_are_timms_but_for_the_last_norm() -> None:
    spec = ModelConfig(backbone={"name": "timm", "model": "test_vit"}, adapter={"name": "full"})
    model, net = build_model(spec, 5, 1, 160), timm.create_model("test_vit", num_classes=5)
    theirs = param_groups_layer_decay(net, 0.05, net.no_weight_decay(), layer_decay=0.7)
    expected = {f"net.{n}": scales(theirs)[id(p)] for n, p in net.named_parameters() if not n.startswith("head.")}
    # timm counts the final norm with the last block; BEiT and VideoMAE, whose recipe this is, with the head
    expected |= {"net.norm.weight": (1.0, 0.0), "net.norm.bias": (1.0, 0.0)}
    config = OptimConfig(name="adamw", layer_decay=0.7, weight_decay=0.05)
    found = scales(build_optimizer(model, model.backbone, config).param_groups)
    for name, parameter in model.backbone.named_parameters():
        assert found[id(parameter)] == pytest.approx(expected.pop(name), rel=1e-12), name  # powers of the same float64
    assert not expected


def scales(groups: list[dict]) -> dict[int, tuple[float, float]]:
    return {id(p): (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_sgd_takes_the_momentum() -> None:
    optimizer = build_optimizer(Tiny(), Blocks(), OptimConfig(name="sgd", momentum=0.8))
    assert isinstance(optimizer, torch.optim.SGD) and optimizer.param_groups[0]["momentum"] == 0.8
