"""The schedule agrees with the reference's, and parameter groups carry the right rates and decays."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from videoadapt.config.schema import OptimConfig
from videoadapt.training.optimizer import WarmupCosine, build_optimizer, set_learning_rate

FACTS = json.loads((Path(__file__).parents[1] / "golden" / "facts.json").read_text())["lr_schedule"]


@pytest.mark.parametrize("epoch", FACTS["at_epoch"])
def test_schedule_of_the_reference(epoch: str) -> None:
    learning_rate = WarmupCosine(FACTS["lr"], FACTS["epochs"], 40, FACTS["warmup_epochs"], minimum=FACTS["min_lr"])
    lr = learning_rate(round(float(epoch) * 40))
    assert lr == pytest.approx(FACTS["at_epoch"][epoch], rel=1e-12, abs=1e-15)  # the same float64 formula


def test_warm_up_peak_and_minimum() -> None:
    learning_rate = WarmupCosine(2e-3, epochs=8, steps_per_epoch=10, warmup_epochs=2, start=2e-6, minimum=2e-5)
    assert learning_rate(0) == pytest.approx(2e-6)
    assert learning_rate(10) == pytest.approx((2e-6 + 2e-3) / 2)
    assert learning_rate(20) == pytest.approx(2e-3)
    assert learning_rate(50) == pytest.approx((2e-3 + 2e-5) / 2)
    assert learning_rate(80) == learning_rate(100) == pytest.approx(2e-5)


def test_a_group_without_a_scale_gets_the_rate_itself() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr_scale": 0.5}], lr=0.0)
    set_learning_rate(optimizer, 0.3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.15]


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.patch_embed = nn.Linear(2, 2)
        self.backbone.pool = nn.Linear(2, 2)
        self.backbone.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.fc_norm = nn.LayerNorm(2)
        self.head = nn.Linear(2, 2)


def test_layer_decay_and_weight_decay_groups() -> None:
    model = Tiny()
    model.backbone.blocks[1].requires_grad_(False)
    optimizer = build_optimizer(model, 3, OptimConfig(name="adamw", layer_decay=0.5, weight_decay=0.05))
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


def test_sgd_takes_the_momentum() -> None:
    optimizer = build_optimizer(Tiny(), 3, OptimConfig(name="sgd", momentum=0.8))
    assert isinstance(optimizer, torch.optim.SGD) and optimizer.param_groups[0]["momentum"] == 0.8
