"""Which rows name the same file, or parts of one that overlap, whatever the names: by what the file system numbers it.

Shapes: N or M videos; the 2 of a part are its start and its end.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from videoadapt.data.videos import WHOLE, VideoRows
from videoadapt.video.files import place_of

Parts: TypeAlias = NDArray[np.float64] | None

FILE = np.dtype([("device", np.uint64), ("inode", np.uint64), ("size", np.uint64)])
NO_FILE = 2**64 - 1


def find_files(videos: VideoRows, folders: bool = False) -> NDArray[Any]:
    """(device, inode, bytes) of every file (N,): two names of one file are the same. NO_FILE where there is none.

    `folders`: of every folder of frames, whose bytes are said to be 0.
    """
    files_N = np.zeros(len(videos), dtype=FILE)
    files_N["device"] = files_N["inode"] = NO_FILE
    for row, path in enumerate(videos.paths()):
        if (place := place_of(path, folders)) is not None:
            files_N[row] = place
    return files_N


def num_shared(
    files_N: NDArray[Any], others_M: NDArray[Any], parts_N2: Parts = None, other_parts_M2: Parts = None
) -> int:
    """Number of files that two results of `find_files` share, under whatever names; of parts, those that overlap."""
    alike_N, alike_M = (np.isin(a["inode"], b["inode"]) for a, b in ((files_N, others_M), (others_M, files_N)))
    if parts_N2 is None and other_parts_M2 is None:
        return len(set(files_N[alike_N].tolist()) & set(others_M[alike_M].tolist()) - {(NO_FILE, NO_FILE, 0)})
    here = _parts_of_files(files_N[alike_N], None if parts_N2 is None else parts_N2[alike_N])
    there = _parts_of_files(others_M[alike_M], None if other_parts_M2 is None else other_parts_M2[alike_M])
    return sum(overlap(np.array(here[file]), np.array(there[file])) for file in here.keys() & there.keys())


def _parts_of_files(files_N: NDArray[Any], parts_N2: Parts) -> dict[tuple[int, ...], list[Sequence[float]]]:
    """Of every file its parts."""
    found: dict[tuple[int, ...], list[Sequence[float]]] = defaultdict(list)
    parts = [WHOLE] * len(files_N) if parts_N2 is None else parts_N2.tolist()
    for file, part in zip(files_N.tolist(), parts, strict=True):
        found[file].append(part)
    found.pop((NO_FILE, NO_FILE, 0), None)
    return found


def overlap(parts_N2: NDArray[np.float64], others_M2: NDArray[np.float64]) -> bool:
    """Whether one of the parts of a film shares a moment with one of the others."""
    others_M2 = others_M2[np.argsort(others_M2[:, 0], kind="stable")]
    latest_end_M = np.maximum.accumulate(others_M2[:, 1])
    before_N = np.searchsorted(others_M2[:, 0], parts_N2[:, 1])  # how many of the others start before the end of each
    return bool((latest_end_M[before_N - 1] > parts_N2[:, 0])[before_N > 0].any())


def first_rows(files_N: NDArray[Any], parts_N2: Parts = None) -> NDArray[np.int64]:
    """For every row of a result of `find_files` the first row that is the same file (N,): itself where there is no other.

    With `parts_N2`, the first that is the same part of it.
    """
    keys = [files_N["inode"], files_N["device"]] + ([] if parts_N2 is None else [*parts_N2.T])
    order = np.lexsort(keys)  # stable: the rows of a file stay in order
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = files_N["inode"][order][1:] == NO_FILE
    for key in keys:
        new[1:] |= key[order][1:] != key[order][:-1]
    first_N = np.empty(len(order), dtype=np.int64)
    first_N[order] = order[new][np.cumsum(new) - 1]
    return first_N
