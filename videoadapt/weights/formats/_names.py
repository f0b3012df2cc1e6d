"""What every format is turned into, and how names are turned.

Our names are those of a Classifier without adapters (`backbone.*`, `fc_norm.*`, `head.*`); the tensors of adapters have
`.adapter.` in them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from videoadapt.errors import CheckpointError
from videoadapt.weights.files import Tensors
from videoadapt.weights.normalisation import Normalisation

Rules = Sequence[tuple[str, str]]  # a start of a name there and here; # stands for the number of a block


class Found(NamedTuple):
    """A format's name, its tensors under our names, and what it holds besides that we have no use for."""

    format: str
    tensors: Tensors
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """Tensors of one file or folder under our names; `unused` names what the format holds and we have no use for."""

    path: Path
    format: str
    tensors: Tensors
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was chosen or passed over on the way to the tensors
    eps: float | None = None  # of the LayerNorms in the blocks, where a config.json tells
    num_heads: int | None = None  # likewise
    # of the blocks: gelu, gelu_tanh, quick_gelu or silu, where the file or its format tells
    activation: str | None = None
    normalisation: Normalisation | None = None  # of the pixels that it was trained on, likewise
    architecture: str | None = None  # timm's name of the model, likewise
    class_names: tuple[str, ...] | None = None  # of the head, in order, where the file, or a config.json, tells
    # for each class of the model its row of the head, None for a new one
    class_rows: tuple[int | None, ...] | None = None

    def part(self, *, adapter: bool) -> Tensors:
        """Return the tensors that belong to adapters, or the others."""
        return {name: tensor for name, tensor in self.tensors.items() if (".adapter." in name) == adapter}


def rename(tensors: Tensors, rules: Rules) -> Tensors:
    """Apply the first rule that matches the start of a name; a name without a rule stays, and is found unexpected later.

    Raises CheckpointError when two tensors get one name.
    """
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        new = _renamed(name, rules)
        if new in renamed:
            raise CheckpointError(f"{name} is in the file twice, under two names of one tensor")
        renamed[new] = tensor
    return renamed


def _renamed(name: str, rules: Rules) -> str:
    for old, new in rules:
        match = re.match(re.escape(old).replace(r"\#", r"(\d+)"), name)
        if match:
            return new.replace("#", match.group(1) if match.groups() else "") + name[match.end() :]
    return name


def inverse(rules: Rules) -> Rules:
    """The rules that lead back."""
    return [(new, old) for old, new in rules]


def stack(tensors: Tensors, parts: Sequence[str], whole: str) -> Tensors:
    """Put tensors whose names end in `parts` on top of each other, under the name with the end `whole` instead.

    Raises CheckpointError when one stands without the others.
    """
    stacked = dict(tensors)
    for name in [name for name in tensors if name.endswith(parts[0])]:
        stem = name.removesuffix(parts[0])
        absent = [stem + part for part in parts if stem + part not in tensors]
        if absent:
            raise CheckpointError(f"{name} has no {' or '.join(absent)} beside it; the file is incomplete")
        stacked[stem + whole] = torch.cat([stacked.pop(stem + part) for part in parts])
    return stacked


def drop(tensors: Tensors, pattern: str) -> tuple[Tensors, tuple[str, ...]]:
    """Split off the names whose start matches `pattern`; return the rest, and what was split off, each part once."""
    matches = {name: re.match(pattern, name) for name in tensors}
    kept = {name: tensor for name, tensor in tensors.items() if not matches[name]}
    return kept, tuple(dict.fromkeys(match.group() for match in matches.values() if match))


KEY_BIAS = "key bias (softmax ignores it)"
