"""What this process found out about files, for the next time that it opens them: the least recently used are forgotten."""

import os
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import Generic, TypeVar

from videoadapt.video.shards import shard_of

Value = TypeVar("Value")


def identity(path: Path) -> tuple[Hashable, ...] | None:
    """What changes when a file does: where it is, its size and time of change; None for a file that cannot be looked at."""
    found = shard_of(path)
    try:
        stat = os.stat(path if found is None else found[0])
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None
    return os.path.abspath(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


class Memory(Generic[Value]):
    """Values by key, each with a weight; together they weigh no more than `limit`."""

    def __init__(self, limit: int):
        self._limit, self._weight = limit, 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """The value, which is now the most recently used; None when there is none."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: Hashable, value: Value, weight: int) -> None:
        """Keep a value, and forget others for it."""
        self._weight += weight - self._values.pop(key, (None, 0))[1]
        self._values[key] = value, weight
        while self._weight > self._limit:
            _, (_, lost) = self._values.popitem(last=False)
            self._weight -= lost

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._weight = 0
