"""What all adapters share: two ways to sit on a residual branch, what trains, and the table that says so.

Shapes: B clips, N tokens, D width.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.models.backbone import Backbone, ResidualBranch
from videoadapt.registry import name_of


class AdapterModule(nn.Module):
    """Base of the modules that an adapter adds: whatever parameters it holds are trained."""

    each_token_alone = False  # whether what it makes of a token depends on that token alone

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Make ready for tensors of a file, under this module's names, that it holds only when a file brings them."""


class Parallel(nn.Module):
    """x -> branch(x) + adapter(x). Weight files skip the word `branch` in names, so a backbone fits with and without."""

    def __init__(self, branch: nn.Module, adapter: AdapterModule):
        super().__init__()
        self.branch = branch
        self.adapter = adapter

    @property
    def each_token_alone(self) -> bool:
        """As the adapter."""
        return self.adapter.each_token_alone

    def forward(self, x_BND: Tensor, *args: Any, **context: Any) -> Tensor:
        """Return (B, N, D); the adapter reads x before the branch's norm. What else the block passes is for the branch."""
        return self.join(x_BND, self.branch(x_BND, *args, **context))

    def join(self, x_BND: Tensor, h_BND: Tensor) -> Tensor:
        """Return what leaves this place when the branch made h of x; several adapters can share one h."""
        joined_BND: Tensor = h_BND + self.adapter(x_BND)
        return joined_BND


class Serial(Parallel):
    """x -> h + adapter(h) with h = branch(x)."""

    def join(self, x_BND: Tensor, h_BND: Tensor) -> Tensor:
        """As in Parallel, but the adapter reads h."""
        joined_BND: Tensor = h_BND + self.adapter(h_BND)
        return joined_BND


class Adapter:
    """A way of tuning a backbone: `attach` changes it in place, `trainable` declares which of its parameters train."""

    unmergeable: str = "it adds a function that no tensor of the backbone can hold"
    alone: str = ""  # why it cannot be combined with other methods; "" when it can
    starts_unchanged: bool = True  # whether, before the first update, the model answers as without it

    def attach(self, backbone: Backbone) -> None:
        """Add this adapter's modules. Raises ConfigError, naming both, when the backbone offers no place for them."""
        raise NotImplementedError

    def trainable(self, backbone: Backbone) -> Iterator[nn.Parameter]:
        """Yield the backbone's parameters that train: those inside an AdapterModule."""
        for module in backbone.modules():
            if isinstance(module, AdapterModule):
                yield from module.parameters()

    def merge(self, backbone: Backbone) -> None:
        """Fold the trained values into the backbone's own tensors, exactly. Raises ConfigError when that cannot be done."""
        raise ConfigError(
            f"adapter {name_of(self)}: cannot be merged into the backbone exactly ({self.unmergeable}); "
            "export to .onnx or .pt2, or pass on the run's adapter.safetensors"
        )


def residual_blocks(adapter: Adapter, backbone: Backbone, wanted: Sequence[int] | None = None) -> list[nn.Module]:
    """Return the backbone's own blocks numbered in `wanted` (None: all). Raises ConfigError when one is not there."""
    blocks = [original(block) for block in getattr(backbone, "blocks", ())]
    if not blocks or not all(hasattr(block, "mlp") and hasattr(block, "attn") for block in blocks):
        raise ConfigError(
            f"adapter {name_of(adapter)}: needs blocks with the branches `attn` and `mlp`, which backbone "
            f"{name_of(backbone)} does not offer{backbone.no_branches and f' ({backbone.no_branches})'}; take vit, or adapter "
            "linear or full"
        )
    if wanted is None:
        return blocks
    if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= set(range(len(blocks))):
        allowed = f"distinct numbers from 0 to {len(blocks) - 1}, or null for all"
        raise ArgumentError(type(adapter).__name__, f"blocks = {list(wanted)}: allowed: {allowed}")
    return [blocks[index] for index in sorted(wanted)]


def own_branch(branch: Any) -> ResidualBranch:
    """Return the backbone's own branch below what adapters put around it."""
    own = original(branch)
    assert isinstance(own, ResidualBranch), type(own)
    return own


def layers_in(branch: Any, names: Sequence[str]) -> Iterator[tuple[nn.Module, str]]:
    """Yield where those of the layers `names` are that a branch has, and that hold a weight: (module, its name there)."""
    for layer in names:
        holder, name = own_branch(branch).place(layer)
        found = getattr(holder, name, None)
        if found is not None and getattr(original(found), "weight", None) is not None:
            yield holder, name


def original(module: nn.Module) -> nn.Module:
    """Return the backbone's own module below the wrappers that adapters put around it, each of which calls it `branch`."""
    while isinstance(inner := getattr(module, "branch", None), nn.Module):
        module = inner
    return module


def bare_layer(adapter: Adapter, holder: Any, name: str) -> Any:
    """Return the layer `name` of `holder`. Raises ConfigError, naming both methods, when another adapter changes it already."""
    layer = getattr(holder, name)
    if original(layer) is not layer:
        other = type(layer.adapter).__module__.rpartition(".")[2]  # a method's modules stand in its file
        raise ConfigError(
            f"{other} and {name_of(adapter)} both change the layer {name}, and which comes first would change the result; "
            "take one of the two"
        )
    return layer
