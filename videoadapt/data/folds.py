"""A list of videos divided into folds for cross-validation: groups stay whole, classes are spread evenly.

Shapes: N videos, G groups, K classes, F folds.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from videoadapt.errors import DataListError


def group_names(names: Iterable[str], group: str, key: str) -> list[str]:
    """What the first bracket of the regex `group` finds in each name; without a bracket, all that it finds.

    Raises DataListError, naming `key`, whose value it is, for no regular expression, and for a name in which it finds nothing.
    """
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise DataListError(f"{key} = {group!r}: is no regular expression: {error}") from error
    found = []
    for name in names:
        match = pattern.search(name)
        if match is None or match[min(1, pattern.groups)] is None:
            raise DataListError(
                f"{key} = {group!r}: finds nothing in {name!r}; change it, so that it finds a group in every path, "
                "or leave it out"
            )
        found.append(match[min(1, pattern.groups)])
    return found


def divide(labels_N: NDArray[np.int64], groups: Sequence[str], num_folds: int, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each video (N,), from 0: no group is in two folds, and each has as many videos of every class as that allows.

    The greedy of scikit-learn's StratifiedGroupKFold: groups in the order of how unequal their classes are, each to the
    fold with which the folds' shares of the classes differ least, of equals to the smallest. `seed` orders equal groups.
    """
    names, group_N = np.unique(np.array(groups), return_inverse=True)
    counts_GK = np.zeros((len(names), int(labels_N.max()) + 1))
    np.add.at(counts_GK, (group_N, labels_N), 1)
    counts_GK = counts_GK[:, counts_GK.any(axis=0)]
    share_GK = counts_GK / counts_GK.sum(axis=0)
    drawn = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
    spread_G = counts_GK.std(axis=1)
    fold_G, share_FK, size_F = (
        np.zeros(len(names), dtype=np.int64),
        np.zeros((num_folds, share_GK.shape[1])),
        np.zeros(num_folds),
    )
    for group in sorted(range(len(names)), key=lambda g: (-spread_G[g], drawn[g])):
        unequal = [_with(share_FK, fold, share_GK[group]).std(axis=0).mean() for fold in range(num_folds)]
        near = np.flatnonzero(np.isclose(unequal, min(unequal)))
        fold = int(near[size_F[near].argmin()])
        fold_G[group] = fold
        share_FK[fold] += share_GK[group]
        size_F[fold] += counts_GK[group].sum()
    return fold_G[group_N]


def _with(share_FK: NDArray[np.float64], fold: int, more_K: NDArray[np.float64]) -> NDArray[np.float64]:
    found = share_FK.copy()
    found[fold] += more_K
    return found


def groups_per_class(labels_N: NDArray[np.int64], groups: Sequence[str]) -> dict[int, int]:
    """In how many groups each class is."""
    pairs = {(int(label), group) for label, group in zip(labels_N, groups, strict=True)}
    found: dict[int, int] = {}
    for label, _ in sorted(pairs):
        found[label] = found.get(label, 0) + 1
    return found
