"""The activation between the two layers of an MLP: part of the function that weights were trained for, and in no tensor."""

from typing import Any

import torch
from torch import nn

from videoadapt.weights.formats import Weights

_BY_CLASS = {"GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu", "Swish": "silu"}


def activation_of(model: nn.Module) -> str | None:
    """That of the first MLP: gelu, gelu_tanh, quick_gelu or silu; None for another one, and without an MLP."""
    mlp: Any = next((module for module in model.modules() if hasattr(module, "fc1") and hasattr(module, "act")), None)
    return None if mlp is None else named(mlp.act)


def named(activation: nn.Module) -> str | None:
    """The same of a module of PyTorch's or timm's."""
    name = type(activation).__name__
    if name == "GELU":
        return "gelu" if getattr(activation, "approximate", "none") == "none" else "gelu_tanh"
    return _BY_CLASS.get(name)


def trained_with(weights: Weights) -> str | None:
    """The activation that weights were trained with, where their file or config.json tells."""
    return weights.activation or (activation_in_timm(weights.architecture) if weights.architecture else None)


def activation_in_timm(model: str) -> str | None:
    """The same of a model that timm registers; None for a name that it does not know. Takes no memory."""
    if not registered_in_timm(model):
        return None
    import timm

    with torch.device("meta"):
        return activation_of(timm.create_model(model, pretrained=False, num_classes=0))


def registered_in_timm(model: str) -> bool:
    """Whether timm has a model of this name."""
    import timm

    return bool(timm.is_model(model))
