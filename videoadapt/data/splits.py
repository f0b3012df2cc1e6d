"""Train, validation and test lists with their class names, checked before anything is decoded."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from videoadapt.data.folds import group_names
from videoadapt.data.shared_classes import OtherList
from videoadapt.data.videos import WHOLE, VideoRows
from videoadapt.errors import DataListError
from videoadapt.video.files import open_bytes, place_of

Parts: TypeAlias = NDArray[np.float64] | None

FILE = np.dtype([("device", np.uint64), ("inode", np.uint64), ("size", np.uint64)])
NO_FILE = 2**64 - 1

HASHED_FILES = 32
HASHED_BYTES, HASHED_PIECES = 64 * 2**20, 64  # of a file at most


@dataclass(frozen=True)
class Splits:
    """The lists a run works on; `val` may be empty. `class_names[label]` names a class.

    `num_val_in_test` counts the files that are in both the validation and the test list.
    """

    train: VideoRows
    val: VideoRows
    test: VideoRows
    class_names: list[str]
    num_val_in_test: int = 0
    others: Mapping[str, OtherList] = field(default_factory=dict)  # lists to test on besides `test`, by their names

    def fingerprint(self, videos: VideoRows) -> str:
        """sha256 over the rows of a list, so that two results can be told to come from the same one."""
        digest = hashlib.sha256()
        for name, labels in zip(videos.ids(), videos.label_texts(), strict=True):
            digest.update(f"{name} {labels}\n".encode())
        return digest.hexdigest()

    @staticmethod
    def files_fingerprint(videos: VideoRows) -> str:
        """sha256 over the size of every file and the content of HASHED_FILES of them, evenly spread over the list.

        Tells other copies of a data set apart (re-encoded, trimmed, partly absent) at the cost of one look at each file. Times
        of change are not in it, for a copy has others. Of a file larger than HASHED_BYTES, pieces of so many bytes together.
        """
        digest = hashlib.sha256()
        step = max(1, len(videos) // HASHED_FILES)
        for row, video in enumerate(videos):
            try:
                looked_into = row % step == 0 and row // step < HASHED_FILES
                if video.path.is_dir():
                    digest.update(f"{video.id} {_folder_digest(video.path, looked_into)}\n".encode())
                    continue
                if (place := place_of(video.path)) is None:
                    raise OSError("is no regular file")
                digest.update(f"{video.id} {place.size}\n".encode())
                if looked_into:
                    with open_bytes(video.path) as file:
                        digest.update(_content_digest(file, place.size))
            except (OSError, ValueError):  # absent or unreadable, as far as the run allows it; a null byte in the name
                digest.update(f"{video.id} unreadable\n".encode())
        return digest.hexdigest()


def _content_digest(file: BufferedReader, size: int) -> bytes:
    """sha256 over a file's content; of a large file over pieces of it, evenly spread, with the first and the last bytes."""
    if size <= HASHED_BYTES:
        return hashlib.file_digest(file, "sha256").digest()
    digest, piece = hashlib.sha256(), HASHED_BYTES // HASHED_PIECES
    for number in range(HASHED_PIECES):
        file.seek((size - piece) * number // (HASHED_PIECES - 1))
        digest.update(file.read(piece))
    return digest.digest()


def _folder_digest(folder: Path, looked_into: bool) -> str:
    """sha256 over the names and sizes of a folder's files, and over the content of the first, the middle and the last."""
    files = sorted(folder.iterdir())
    digest = hashlib.sha256("".join(f"{file.name} {file.stat().st_size}\n" for file in files).encode())
    for place in sorted({0, len(files) // 2, len(files) - 1}) if files and looked_into else ():
        digest.update(hashlib.sha256(files[place].read_bytes()).digest())
    return digest.hexdigest()


def held_out(videos: VideoRows, share: float, group: str | None, seed: int, key: str = "data.val") -> NDArray[np.bool_]:
    """The rows of a training list that are held out for validation, as a mask (N,): a `share` of each class.

    `group` is a regex: rows in which its first bracket (without one, all of it) finds the same text stay together, and without
    `group` the parts of one film do.

    Groups are never divided, every class keeps at least half. Groups are taken in an order given by a hash of seed and
    group name, as long as no class then gives more than its share (at least one video): the same list always divides in
    the same way. `key` names the setting in the DataListError that is raised when the group's regex does not match a
    video, or no group is small enough.
    """
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(group_names(videos.names(), group, key) if group else videos.names()):
        groups.setdefault(name, []).append(row)
    labels = [of_row or (-1,) for of_row in videos.labels()]  # those without a label are divided like a class
    room = {label: min(max(1, round(share * n)), n // 2) for label, n in Counter(chain(*labels)).items()}
    held_N = np.zeros(len(videos), dtype=np.bool_)
    for name in sorted(groups, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).digest()):
        wanted = Counter(chain.from_iterable(labels[row] for row in groups[name]))
        if all(n <= room[label] for label, n in wanted.items()):
            held_N[groups[name]] = True
            for label, n in wanted.items():
                room[label] -= n
    if not held_N.any():
        raise DataListError(
            f"{key}: no group is small enough to hold out {share:g} of {len(videos)} videos; raise the share "
            "or choose a finer group"
        )
    return held_N


def first_of_each_class(videos: VideoRows, number: int) -> NDArray[np.bool_]:
    """The first `number` rows of every class, as a mask (N,); all of a class that has no more, and none without a label."""
    first_N, seen = np.zeros(len(videos), dtype=np.bool_), Counter[int]()
    for row, labels in enumerate(videos.labels()):
        first_N[row] = any(seen[label] < number for label in labels)
        seen.update(labels)
    return first_N


def some_of_each_class(videos: VideoRows, number: int, seed: int) -> NDArray[np.bool_]:
    """`number` rows of every class, as a mask (N,), by a hash of seed and id; all of a class that has no more.

    A smaller number draws some of the same rows, and the order of a list changes nothing.
    """
    by_hash = [hashlib.sha256(f"{seed}:few:{name}".encode()).digest() for name in videos.ids()]
    some_N = np.zeros(len(videos), dtype=np.bool_)
    of_class: dict[int, list[int]] = defaultdict(list)
    for row, labels in enumerate(videos.labels()):
        for label in labels:
            of_class[label].append(row)
    for rows in of_class.values():
        some_N[sorted(rows, key=by_hash.__getitem__)[:number]] = True
    return some_N


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


def spread(videos: VideoRows, number: int) -> VideoRows:
    """So many videos, evenly spread over the list; all of it where it has no more."""
    number = min(number, len(videos))
    return videos.select(np.arange(number) * len(videos) // max(number, 1))
