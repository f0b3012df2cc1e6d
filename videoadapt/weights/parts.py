"""Which of the state dicts in a checkpoint holds the model: trainers keep one, or several, under names of their own."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from videoadapt.errors import CheckpointError
from videoadapt.paths import exists

Tensors = dict[str, Tensor]

# Taken in this order. Where a file has the averaged and the trained copy of self-distillation, the published code evaluates the
# averaged one: DINO and iBOT `teacher`, I-JEPA and V-JEPA `target_encoder`, models distilled from V-JEPA 2.1 `ema_encoder`;
# MoCo v3 evaluates `base_encoder`.
PLACES = (
    "model",
    "module",
    "state_dict",
    "model_state_dict",
    "model_state",
    "teacher",
    "target_encoder",
    "ema_encoder",
    "base_encoder",
)
_BESIDE = re.compile(
    r"optim|.*optimizer|.*scheduler|.*scaler|.*loss|hyper_parameters|callbacks|loops|args|config|metadata", re.I
)
_DEPTH = 3


def split_part(path: Path) -> tuple[Path, str | None]:
    """`weights.pth#student` -> the file and the part of it; a file whose own name holds a # is itself."""
    name, mark, part = str(path).rpartition("#")
    if mark and part and name and not exists(path) and exists(name):
        return Path(name), part
    return path, None


def model_state(content: Any, path: Path, part: str | None = None) -> tuple[Tensors, str | None, tuple[str, ...]]:
    """The tensors of a checkpoint's model; the part that is still to be looked for in their names; what was chosen.

    Raises CheckpointError without any, or with several of which none is known to be the model.
    """
    states = dict(_states(content))
    if not states:
        held = f"keys {', '.join(map(str, list(content)[:4]))}" if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path}: no tensors under {', '.join(f'`{key}`' for key in PLACES)} or at the top, but {held}"
        )
    if part in states:
        return states[part], None, (f"`{part}` of {', '.join(states)}",)
    chosen = choose(states, path)
    beside = [name for name in states if name != chosen]
    return states[chosen], part, (taken(path, chosen, beside),) if beside else ()


def choose(names: Iterable[str], path: Path) -> str:
    """The name that comes first in PLACES. Raises CheckpointError, with the choices, where none or two do."""
    ranks = {name: [_rank(key) for key in name.split(".")] for name in names}
    best = [name for name in ranks if ranks[name] == min(ranks.values())]
    if len(best) > 1:
        raise CheckpointError(
            f"{path}: holds several models: {', '.join(ranks)}; name one of them behind the file, {path.name}#{best[0]}"
        )
    return best[0]


def taken(path: Path, chosen: str, beside: Iterable[str]) -> str:
    """How the log says a choice."""
    other = list(beside)
    return f"`{chosen}` taken, beside it {', '.join(other)} ({path.name}#{other[0]} takes that)"


def _rank(key: str) -> int:
    return PLACES.index(key) if key in PLACES else len(PLACES)


def _states(content: Any, depth: int = _DEPTH, name: str = "") -> Iterable[tuple[str, Tensors]]:
    """Every mapping of names to tensors alone, under its dotted name, but for what an optimizer or a loss keeps."""
    if not isinstance(content, Mapping) or not content or depth < 0:
        return
    if all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        yield name, dict(content)
        return
    for key, value in content.items():
        if isinstance(key, str) and not _BESIDE.match(key):
            yield from _states(value, depth - 1, f"{name}.{key}" if name else key)
