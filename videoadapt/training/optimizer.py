"""Parameter groups and the optimizer."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoadapt.config.optimizers import optimizer_arguments, optimizer_of
from videoadapt.config.schema import OptimConfig
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.models.backbone import Backbone, is_chain
from videoadapt.models.sharding import part_of


def build_optimizer(model: nn.Module, backbone: Backbone, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer of `optim.name` over the trainable parameters; each group's rate is `lr * group["lr_scale"]`.

    Vectors (biases, norms), positions, class and mask tokens are not decayed. With `layer_decay` d < 1, block i of the
    backbone's `depth` has scale d^(depth - i), what stands in front of the blocks d^(depth + 1), and what stands behind them 1
    (BEiT, section "fine-tuning"; used by VideoMAE). Raises ConfigError when the backbone has no chain of blocks to decay over.
    """
    if config.layer_decay < 1 and not is_chain(backbone):
        raise ConfigError(
            f"optim.layer_decay = {config.layer_decay}: needs a backbone that is a plain chain of blocks, which model.backbone "
            "is not; allowed: 1.0"
        )
    undecayed = {"mask_token", *(f"backbone.{name}" for name in backbone.undecayed())}
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim > 1 and name not in undecayed
        lr_scale = config.layer_decay ** _layers_above(name, backbone) if config.layer_decay < 1 else 1.0
        group = groups.setdefault(
            (lr_scale, decayed),
            {"params": [], "lr_scale": lr_scale, "weight_decay": config.weight_decay if decayed else 0.0},
        )
        group["params"].append(parameter)
    arguments = optimizer_arguments(config.name, config.momentum, config.betas, config.options)
    build: Any = optimizer_of(config.name)
    optimizer: torch.optim.Optimizer = build(list(groups.values()), lr=0.0, **arguments)
    return optimizer


def _layers_above(name: str, backbone: Backbone) -> int:
    """How many layers of the backbone, and what follows it as one more, stand behind the parameter `name` of the model."""
    if not name.startswith("backbone."):
        return 0
    return backbone.depth + 1 - backbone.layer_of(name.removeprefix("backbone."))


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimizer's `state_dict`, with the `name` of its class: Adamax and RAdam have keys of the same names."""
    return {**optimizer.state_dict(), "name": type(optimizer).__name__}


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], path: Path) -> None:
    """Give back the moments of an `optimizer_state`, or a `state_dict`; all else stays what the optimizer was built with.

    Raises CheckpointError when the moments are another optimizer's, or belong to other groups of parameters.
    """
    built = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    kinds = [[_moments(group) for group in groups] for groups in (optimizer.param_groups, state["param_groups"])]
    name = type(optimizer).__name__
    if kinds[0] != kinds[1] or state.get("name", name) != name:
        raise CheckpointError(
            f"{path}: its optimizer has other moments or groups: optim.name, options that add moments, train.freeze, and "
            "optim.layer_decay between 1 and less, cannot change within a run, not even with train.resume force; set them "
            "back, or choose another `output`"
        )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        number: {
            name: part_of(value, parameters[number]) if isinstance(value, Tensor) else value
            for name, value in of.items()
        }
        for number, of in state["state"].items()
    }
    optimizer.load_state_dict({"param_groups": state["param_groups"], "state": moments})
    for group, values in zip(optimizer.param_groups, built, strict=True):
        group.update(values)


def _moments(group: dict[str, Any]) -> tuple[Any, ...]:
    """What decides which moments a group of parameters has, and their number; SGD can begin a momentum at any step."""
    adds_momentum = "dampening" not in group and bool(group.get("momentum"))
    return (
        "betas" in group,
        bool(group.get("amsgrad")),
        bool(group.get("centered")),
        adds_momentum,
        len(group["params"]),
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group `lr` times its `lr_scale`, which is 1 in a group without one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
