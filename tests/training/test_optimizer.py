"""Parameter groups carry the right rates and decays."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from videoadapt.config.optimizers import OPTIMIZERS
from videoadapt.config.schema import ModelConfig, OptimConfig
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.models.backbone import Backbone
from videoadapt.runs.build import build_model
from videoadapt.runs.checkpoint import load_checkpoint, save_checkpoint
from videoadapt.training.optimizer import build_optimizer, optimizer_state, restore_optimizer, set_learning_rate


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


def after(steps: range, model: Tiny, optimizer: torch.optim.Optimizer) -> list[bytes]:
    """The parameters' bits after updates with these numbers, each with gradients and a rate of its own."""
    for step in steps:
        torch.manual_seed(step)
        set_learning_rate(optimizer, 0.1 / (1 + step))
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def tiny(seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    return Tiny()


OPTIONS: dict[str, dict[str, Any]] = {
    "adadelta": {"rho": 0.8}, "adagrad": {"initial_accumulator_value": 0.1}, "adam": {"amsgrad": True}, "adamax": {"eps": 1e-6},
    "adamw": {"eps": 1e-6}, "nadam": {"momentum_decay": 0.01}, "radam": {"decoupled_weight_decay": True},
    "rmsprop": {"momentum": 0.9, "centered": True}, "sgd": {"nesterov": True},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_is_torchs_and_resumes_to_the_same_bits(name: str, tmp_path: Path) -> None:
    config = OptimConfig(name=name, options=OPTIONS[name], betas=(0.8, 0.99), weight_decay=0.01, layer_decay=0.5)
    model = tiny()
    optimizer = build_optimizer(model, model.backbone, config)
    halfway = after(range(3), model, optimizer)
    save_checkpoint(tmp_path / "c.pt", {"optimizer": optimizer_state(optimizer), "model": model.state_dict()})
    expected = after(range(3, 6), model, optimizer)

    again = tiny(seed=1)
    resumed = build_optimizer(again, again.backbone, config)
    state = load_checkpoint(tmp_path / "c.pt")
    again.load_state_dict(state["model"])
    restore_optimizer(resumed, state["optimizer"], tmp_path / "c.pt")
    assert halfway != after(range(3, 6), again, resumed) == expected

    theirs = tiny()
    own = {"momentum": 0.9} if name == "sgd" else {"betas": (0.8, 0.99)} if "adam" in name else {}
    groups = [{**group, "params": []} for group in optimizer.param_groups]
    place = {id(p): number for number, group in enumerate(optimizer.param_groups) for p in group["params"]}
    for mine, parameter in zip(model.parameters(), theirs.parameters(), strict=True):
        groups[place[id(mine)]]["params"].append(parameter)
    plain = [{key: group[key] for key in ("params", "lr_scale", "weight_decay")} for group in groups]
    assert after(range(6), theirs, getattr(torch.optim, OPTIMIZERS[name])(plain, **OPTIONS[name], **own)) == expected


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({"name": "radam"}, {"name": "adamax"}),
        ({"name": "adam"}, {"name": "adamw"}),
        ({"name": "adam"}, {"name": "adam", "options": {"amsgrad": True}}),
        ({"name": "rmsprop"}, {"name": "rmsprop", "options": {"centered": True}}),
        ({"name": "rmsprop"}, {"name": "rmsprop", "options": {"momentum": 0.9}}),
        ({"name": "sgd"}, {"name": "adagrad"}),
    ],
)
def test_other_moments_are_refused(there: dict[str, Any], here: dict[str, Any], tmp_path: Path) -> None:
    model = tiny()
    before, now = (build_optimizer(model, model.backbone, OptimConfig(**spec)) for spec in (there, here))
    after(range(1), model, before)
    with pytest.raises(CheckpointError, match="its optimizer has other moments or groups"):
        restore_optimizer(now, optimizer_state(before), tmp_path / "c.pt")


def test_a_state_of_before_has_no_name_and_is_read(tmp_path: Path) -> None:
    model = tiny()
    before, now = (build_optimizer(model, model.backbone, OptimConfig(name="adamw")) for _ in range(2))
    after(range(2), model, before)
    restore_optimizer(now, before.state_dict(), tmp_path / "c.pt")
    assert all(now.state[p]["exp_avg"].equal(before.state[p]["exp_avg"]) for p in model.parameters())


def test_momentum_may_begin_later(tmp_path: Path) -> None:
    model = tiny()
    before = build_optimizer(model, model.backbone, OptimConfig(momentum=0.0))
    now = build_optimizer(model, model.backbone, OptimConfig(momentum=0.9))
    after(range(1), model, before)
    restore_optimizer(now, optimizer_state(before), tmp_path / "c.pt")
    after(range(1, 3), model, now)
    assert all("momentum_buffer" in now.state[p] for p in model.parameters())
