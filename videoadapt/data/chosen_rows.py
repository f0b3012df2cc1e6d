"""Some rows of a list: held out, the first or a few of each class, or evenly spread; the same list gives the same ones."""

import hashlib
from collections import Counter, defaultdict
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from videoadapt.data.folds import group_names
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError, counted


def held_out(
    videos: VideoRows,
    share: float,
    group: str | None,
    seed: int,
    key: str = "data.val.holdout",
    group_key: str = "data.val.group",
) -> NDArray[np.bool_]:
    """The rows of a training list that are held out for validation, as a mask (N,): a `share` of each class.

    `group` is a regex: rows in which its first bracket (without one, all of it) finds the same text stay together, and without
    `group` the parts of one film do.

    Groups are never divided, every class keeps at least half. Groups are taken in an order given by a hash of seed and
    group name, as long as no class then gives more than its share (at least one video): the same list always divides in
    the same way. Raises DataListError, naming `group_key`, when the regex finds nothing in a video, and naming `key`, which
    may end in the share as it was given, when no group is small enough.
    """
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(group_names(videos.names(), group, group_key) if group else videos.names()):
        groups.setdefault(name, []).append(row)
    labels = [of_row or (-1,) for of_row in videos.labels()]  # those without a label are divided like a class
    room = {label: min(max(1, round(share * n)), n // 2) for label, n in Counter(chain(*labels)).items()}
    if not any(room.values()):
        raise DataListError(
            f"{key}: no class has two videos, so that none can be held out of {counted(len(videos), 'video')}; list more of "
            "them, or hold none out"
        )
    held_N = np.zeros(len(videos), dtype=np.bool_)
    for name in sorted(groups, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).digest()):
        wanted = Counter(chain.from_iterable(labels[row] for row in groups[name]))
        if all(n <= room[label] for label, n in wanted.items()):
            held_N[groups[name]] = True
            for label, n in wanted.items():
                room[label] -= n
    if not held_N.any():
        name, rows = min(groups.items(), key=lambda item: len(item[1]))
        cure = f", or let {group_key} find smaller groups" if group else ""
        if group and len({label for row in rows for label in labels[row]}) > 1:  # numbers that begin anew in each class
            cure += " (with the class in its bracket, '(.*_g[0-9]+)_c', films of several classes are not one)"
        raise DataListError(
            f"{key}: no group is small enough: of {counted(len(groups), 'group')} the smallest, {name!r}, has {len(rows)} of "
            f"{counted(len(videos), 'video')}; raise the share{cure}"
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


def spread(videos: VideoRows, number: int) -> VideoRows:
    """So many videos, evenly spread over the list; all of it where it has no more."""
    number = min(number, len(videos))
    return videos.select(np.arange(number) * len(videos) // max(number, 1))
