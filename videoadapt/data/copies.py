"""Files that hold the same bytes under other names: only those of one size are opened, and those read that agree in a part."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from videoadapt.log import progress
from videoadapt.video.files import open_bytes, place_of

PART_BYTES = 16_384  # what is read first of each file: of its middle, where encoders write no fixed text


def find_copies(paths: Sequence[str]) -> list[list[int]]:
    """Return the groups of paths whose files hold the same bytes, by their indices, each in order.

    Two names of one file (links) are the same as well. Files that are absent, empty or cannot be read are in no group.
    """
    of_size: dict[int, list[int]] = defaultdict(list)
    for index, path in enumerate(paths):
        if size := _size(path):
            of_size[size].append(index)
    rows = [same for same in of_size.values() if len(same) > 1]
    with progress("compare", sum(map(len, rows)), "files of equal size") as line:

        def part(index: int) -> Hashable:
            line.advance()
            return part_of(paths[index])

        alike = [group for same in rows for group in by_key(same, part)]
    return sorted(group for same in alike for group in by_key(same, lambda index: _digest(paths[index])))


def by_key(indices: Iterable[int], key: Callable[[int], Hashable]) -> Iterator[list[int]]:
    """Yield the indices of each key that several have; of the key None none."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index in indices:
        groups[key(index)].append(index)
    yield from (group for known, group in groups.items() if known is not None and len(group) > 1)


def part_of(path: str) -> bytes | None:
    """The digest of PART_BYTES in the middle of a file; None where it cannot be read."""
    try:
        with open_bytes(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - PART_BYTES) // 2)
            return hashlib.sha256(file.read(PART_BYTES)).digest()
    except OSError:
        return None


def _digest(path: str) -> bytes | None:
    try:
        with open_bytes(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def _size(path: str) -> int:
    place = place_of(path)
    return 0 if place is None else place.size
