"""Files that stand in one list under several names, which paths alone do not tell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import logger
from videoadapt.data.splits import first_rows
from videoadapt.data.videos import VideoRows


def same_files(split: str, videos: VideoRows, files_N: NDArray[Any]) -> list[str]:
    """A file of the validation or test list that several names lead to, and would count as often; in training it is said."""
    first_N = first_rows(files_N, videos.parts_N2)
    again = np.flatnonzero(first_N != np.arange(len(first_N)))
    if split != "train" and len(again):
        names = list(videos.ids())  # one name twice is said already
        again = again[[names[row] != names[first] for row, first in zip(again, first_N[again], strict=True)]]
    if not len(again):
        return []
    contradicting = again[videos.labels_N[again] != videos.labels_N[first_N[again]]]
    row = contradicting[0] if len(contradicting) else again[0]
    one, other = videos[int(first_N[row])], videos[int(row)]
    said = f"data.{split}: {len(again)} rows name a file that another row names as well"
    pair = (
        f"{other.id!r} (line {other.line}, label {other.label}) is the same file as {one.id!r} (line {one.line}, "
        f"label {one.label})"
    )
    if split != "train":
        return [f"{said}, and it would count twice; first {pair}; take one out"]
    if len(contradicting):
        logger.warning(
            "%s, %d of them with another label: %s; one of the two labels is wrong", said, len(contradicting), pair
        )
    else:
        logger.warning("%s, so that it is seen more often than others: %s", said, pair)
    return []
