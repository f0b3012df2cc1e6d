"""`model.adapter` to an adapter: one method, or a list of them that are attached in the list's order."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from torch import nn

from videoadapt.errors import ConfigError
from videoadapt.models.adapters._base import Adapter, component_name
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS


class Combined(Adapter):
    """Several methods at once; on the same branch, a later one stands around an earlier one."""

    def __init__(self, parts: Sequence[Adapter]):
        self.parts = parts

    def attach(self, backbone: Backbone) -> None:
        """Attach one after the other. Raises ConfigError where two change the same layer."""
        for part in self.parts:
            part.attach(backbone)

    def trainable(self, backbone: Backbone) -> Iterator[nn.Parameter]:
        """Yield what any of them trains."""
        return chain.from_iterable(part.trainable(backbone) for part in self.parts)

    def merge(self, backbone: Backbone) -> None:
        """Merge all of them. Raises ConfigError, with the trunk as it was, when one cannot be."""
        for part in sorted(self.parts, key=lambda part: type(part).merge is not Adapter.merge):
            part.merge(backbone)


def build_adapter(spec: dict[str, Any] | Sequence[dict[str, Any]]) -> Adapter:
    """Build the method, or the methods, that `model.adapter` names.

    Raises ConfigError for bad arguments, for methods that only stand alone, and for one that is named twice.
    """
    if isinstance(spec, dict):
        adapter: Adapter = ADAPTERS.build(spec)
        return adapter
    parts: list[Adapter] = []
    problems: list[str] = []
    for number, part in enumerate(spec):
        try:
            parts.append(ADAPTERS.build(part))
        except ConfigError as error:
            problems += [text.replace("model.adapter.", f"model.adapter.{number}.") for text in error.problems]
    names = [component_name(part) for part in parts]
    problems += [
        f"model.adapter: {name} stands there twice; keep one of them" for name in names if names.count(name) > 1
    ]
    problems += [
        f"model.adapter: {name} cannot be combined with other methods, because {part.alone}; leave it out, or the others"
        for name, part in zip(names, parts, strict=True)
        if part.alone
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Combined(parts)
