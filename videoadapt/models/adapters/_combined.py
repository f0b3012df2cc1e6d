"""A spec to an adapter: one method, or a list of them that are attached in the list's order."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from torch import nn

from videoadapt.errors import ConfigError, at_key
from videoadapt.models.adapters._base import Adapter
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS, name_of


class Combined(Adapter):
    """Several methods at once; on the same branch, a later one stands around an earlier one."""

    def __init__(self, parts: Sequence[Adapter], keys: Sequence[str | None]):
        """`keys`: where each of `parts` stands in a config, for errors; None outside of one."""
        self.parts, self._keys = parts, keys

    def attach(self, backbone: Backbone) -> None:
        """Attach one after the other. Raises ConfigError where two change the same layer."""
        for part, key in zip(self.parts, self._keys, strict=True):
            with at_key(key):
                part.attach(backbone)

    def trainable(self, backbone: Backbone) -> Iterator[nn.Parameter]:
        """Yield what any of them trains."""
        return chain.from_iterable(part.trainable(backbone) for part in self.parts)

    def merge(self, backbone: Backbone) -> None:
        """Merge all of them. Raises ConfigError, with the backbone as it was, when one cannot be."""
        for part in sorted(self.parts, key=lambda part: type(part).merge is not Adapter.merge):
            part.merge(backbone)


def build_adapter(spec: dict[str, Any] | Sequence[dict[str, Any]], key: str | None = None) -> Adapter:
    """Build the method, or the methods, of `spec`; `key` is where it stands in a config, so that errors can name it.

    Raises ConfigError for bad arguments, for methods that only stand alone, and for one that is named twice.
    """
    if isinstance(spec, dict):
        with at_key(key):
            adapter: Adapter = ADAPTERS.build(spec)
        return adapter
    keys = [key and f"{key}.{number}" for number in range(len(spec))]
    parts: list[Adapter] = []
    problems: list[str] = []
    for part, part_key in zip(spec, keys, strict=True):
        try:
            with at_key(part_key):
                parts.append(ADAPTERS.build(part))
        except ConfigError as error:
            problems += error.problems
    names, where = [name_of(part) for part in parts], key or "adapters"
    problems += [f"{where}: {name} appears twice; keep one of them" for name in names if names.count(name) > 1]
    problems += [
        f"{where}: {name} cannot be combined with other methods, because {part.alone}; leave it out, or the others"
        for name, part in zip(names, parts, strict=True)
        if part.alone
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Combined(parts, keys)
