"""Which optimizers of torch a config may name, and what it may set of them."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

from videoadapt.config.yaml_files import parse_yaml
from videoadapt.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import torch

# by the names of configs, the classes of torch.optim
OPTIMIZERS = {
    "adadelta": "Adadelta", "adagrad": "Adagrad", "adam": "Adam", "adamax": "Adamax", "adamw": "AdamW", "nadam": "NAdam",
    "radam": "RAdam", "rmsprop": "RMSprop", "sgd": "SGD",
}  # fmt: skip
_NOT_THESE = {
    "adafactor": "has moments of other shapes than the parameters",
    "asgd": "applies each learning rate one update late, and train.ema averages weights",
    "lbfgs": "evaluates the loss several times an update",
    "muon": "takes matrices only, and biases and patch kernels are none",
    "rprop": "is for gradients of the whole training list",
    "sparseadam": "is for sparse gradients",
}
# arguments that have a key of their own, and those that no config sets
_KEYS = {"lr": "optim.lr_per_256", "weight_decay": "optim.weight_decay", "betas": "optim.betas"}
_OURS = {"params", "maximize", "capturable", "differentiable", *_KEYS}


def optimizer_of(name: str) -> type["torch.optim.Optimizer"]:
    """Return the class of torch.optim that a config calls `name`."""
    import torch  # slow to import, and reading a config needs none of it

    found: type[torch.optim.Optimizer] = getattr(torch.optim, OPTIMIZERS[name])
    return found


def optimizer_arguments(
    name: str, momentum: float, betas: tuple[float, float], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the constructor of an optimizer is given besides groups, rate and decay.

    `momentum` is SGD's, `betas` are of all that have some, and `options` whatever else the constructor takes. Raises
    ConfigError for an option that it does not take, and for a value that it refuses.
    """
    parameters = _parameters_of(name)
    own = {"momentum": "optim.momentum", **_KEYS} if name == "sgd" else _KEYS
    free = {key: p.default for key, p in parameters.items() if key not in _OURS and key not in own}
    problems = [_problem(name, key, value, free, own) for key, value in options.items()]
    if any(problems):
        raise ConfigError([problem for problem in problems if problem])
    arguments = dict(options)
    if name == "sgd":
        arguments["momentum"] = momentum
    if "betas" in parameters:
        arguments["betas"] = betas
    if refused := _refusal(name, tuple(arguments.items())):
        raise ConfigError(f"optim.options = {dict(options)}: {name} refuses it: {refused}")
    return arguments


@cache
def _parameters_of(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(optimizer_of(name)).parameters


@cache  # a sweep's cells mostly have the same optimizer
def _refusal(name: str, arguments: tuple[tuple[str, Any], ...]) -> str:
    """What the constructor itself says against its arguments; "" where it takes them."""
    import torch

    kind: Any = optimizer_of(name)
    try:
        kind([torch.zeros(1)], lr=0.0, **dict(arguments))
    except (ValueError, TypeError, RuntimeError) as error:
        return str(error)
    return ""


def _problem(name: str, key: str, value: Any, free: Mapping[str, Any], own: Mapping[str, str]) -> str:
    """What is wrong with one option, "" where nothing is."""
    if key in own:
        return f"optim.options.{key}: has a key of its own; set {own[key]}"
    if key not in free:
        return f"optim.options.{key}: {name} takes no such option; {did_you_mean(key, free)}"
    is_switch = isinstance(free[key], bool) or free[key] is None
    if isinstance(value, bool) != is_switch or not isinstance(value, bool | int | float):
        return f"optim.options.{key} = {value!r}: expected {'true or false' if is_switch else 'a number'}"
    return ""


def _known(name: Any) -> Any:
    asked = str(name).lower()
    if asked != name or asked not in OPTIMIZERS:
        raise ValueError(f"{_NOT_THESE.get(asked, 'is no optimizer here')}; {did_you_mean(asked, OPTIMIZERS)}")
    return name


def _read(value: Any) -> Any:
    """Options as a command line gives them: no optimizer takes text, so that text is yaml."""
    if isinstance(value, Mapping):
        return {key: _read(part) for key, part in value.items()}
    try:
        return parse_yaml(str(value), "optim.options") if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from error


OptimizerName = Annotated[
    Literal["adadelta", "adagrad", "adam", "adamax", "adamw", "nadam", "radam", "rmsprop", "sgd"],
    BeforeValidator(_known),
]
Options = Annotated[dict[str, Any], BeforeValidator(_read)]
