"""What a registry keeps its components in: fvcore's Registry, or as much of it as is needed where there is no fvcore.

fvcore is published as source only, and a system may be unable to build it.
"""

from collections.abc import Iterator
from typing import Any

__all__ = ["Names"]


class _Names:
    """Objects under their `__name__`, as fvcore's Registry keeps them."""

    def __init__(self, kind: str):
        self._objects: dict[str, Any] = {}

    def register(self, obj: Any) -> None:
        """Keep an object."""
        self._objects[obj.__name__] = obj

    def get(self, name: str) -> Any:
        """Return the object of this name."""
        return self._objects[name]

    def __contains__(self, name: str) -> bool:
        return name in self._objects

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._objects.items())


try:
    from fvcore.common.registry import Registry as Names
except ModuleNotFoundError:
    Names = _Names
