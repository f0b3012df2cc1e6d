"""Which parameters of a model are trained, how many they are, and what one clip costs."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from videoadapt.errors import ArgumentError, CheckpointError
from videoadapt.models.adapters._base import Adapter, AdapterModule
from videoadapt.models.backbone import Backbone
from videoadapt.models.sharding import part_of
from videoadapt.weights.formats import plain_name


def freeze(model: nn.Module, backbone: Backbone, adapter: Adapter) -> None:
    """Let the model train outside its backbone, and inside it exactly what the adapter declares."""
    model.requires_grad_(True)
    backbone.requires_grad_(False)
    for parameter in adapter.trainable(backbone):
        parameter.requires_grad_(True)


def freeze_by_name(model: nn.Module, patterns: Sequence[str]) -> None:
    """Stop training what the patterns name, parameters or modules, by our names with or without adapters' `branch`.

    Files hold them as if they trained (`held`), because no backbone's file does. Raises ArgumentError for a pattern that
    names nothing, and where nothing is left to train.
    """
    named = dict(model.named_parameters())
    for pattern in patterns:
        found = [name for name in named if _is_named(name, pattern) or _is_named(plain_name(name), pattern)]
        if not found:
            parts = ", ".join(dict.fromkeys(name.split(".", 1)[0] for name in named))
            raise ArgumentError(
                "freeze",
                f"freeze = {pattern!r}: names no parameter and no module; the model's names begin with {parts}",
            )
        model.frozen_by_name = _frozen_by_name(model) | {name for name in found if named[name].requires_grad}  # type: ignore[assignment]
        for name in found:
            named[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in named.values()):
        raise ArgumentError("freeze", f"freeze = {list(patterns)}: leaves nothing to train; take out a pattern")


def held(model: nn.Module) -> set[str]:
    """Names of the parameters that a run's files hold: those that train, and those that would if no name froze them."""
    return {name for name, p in model.named_parameters() if p.requires_grad} | _frozen_by_name(model)


def _frozen_by_name(model: nn.Module) -> frozenset[str]:
    return getattr(model, "frozen_by_name", frozenset())


def _is_named(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def hold_frozen_statistics(part: nn.Module) -> None:
    """Keep BatchNorm layers that do not train in eval mode, so that the running statistics of a frozen part do not move."""
    for module in part.modules():
        if isinstance(module, _BatchNorm):
            parameters = list(module.parameters()) or list(part.parameters())
            if not any(parameter.requires_grad for parameter in parameters):
                module.eval()


class ParameterRow(NamedTuple):
    """One line of the parameter table: `share` is the part of all parameters, in [0, 1]."""

    group: str
    num_parameters: int
    share: float
    trainable: bool


def parameter_table(model: nn.Module) -> list[ParameterRow]:
    """Count parameters by group: the backbone (frozen, then trained), the adapter, and each part after the backbone."""
    adapted = {id(p) for m in model.modules() if isinstance(m, AdapterModule) for p in m.parameters()}
    counts = {("backbone (frozen)", False): 0, ("backbone", True): 0, ("adapter", True): 0}
    for name, parameter in model.named_parameters():
        group = name.split(".", 1)[0]
        if id(parameter) in adapted:
            group = "adapter"
        elif group == "backbone":
            group = "backbone" if parameter.requires_grad else "backbone (frozen)"
        key = (group, parameter.requires_grad)
        counts[key] = counts.get(key, 0) + parameter.numel()
    total = sum(counts.values())
    return [ParameterRow(group, count, count / total, trains) for (group, trains), count in counts.items() if count]


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are `held` and all persistent buffers: with the frozen backbone they are the whole model."""
    frozen = {name for name, _ in model.named_parameters()} - held(model)
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name not in frozen}


def load_trainable_state(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Put saved tensors back. Raises CheckpointError unless names and shapes agree exactly."""
    make_room(model, state)
    own = trainable_state(model)
    problems = [f"missing {name}" for name in own.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - own.keys()]
    problems += [
        f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if problems:
        raise CheckpointError(f"{path}: does not fit this model: " + "; ".join(sorted(problems)))
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(part_of(tensor, own[name]))


def make_room(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Let each adapter's module make ready for those of its tensors that only a file brings."""
    for prefix, module in list(model.named_modules()):
        if isinstance(module, AdapterModule):
            module.make_room(
                {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(prefix)}
            )


def count_gflops(model: nn.Module, num_frames: int, height_px: int, width_px: int) -> float:
    """Return the GFLOPs of one clip through the model, one multiply-add counted as one, as fvcore and the papers do."""
    from fvcore.nn import FlopCountAnalysis  # slow to import, and needed once a run

    clip_BCTHW = torch.zeros(1, 3, num_frames, height_px, width_px, device=next(model.parameters()).device)
    training = model.training
    analysis = FlopCountAnalysis(model.eval(), clip_BCTHW)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with torch.no_grad():
        gflops = float(analysis.total()) / 1e9
    model.train(training)
    return gflops


def _attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of q k^T and of its product with v, for q (B, heads, N, d) and k, v (B, heads, M, d)."""
    q, k, v = (value.type().sizes() for value in inputs[:3])
    return int(prod(q) * k[-2] + prod(q[:-1]) * k[-2] * v[-1])
