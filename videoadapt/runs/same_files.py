"""Files that stand in one list under several names, which paths alone do not tell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import logger
from videoadapt.data.file_identity import first_rows
from videoadapt.data.videos import VideoRows
from videoadapt.errors import counted


def same_files(split: str, videos: VideoRows, files_N: NDArray[Any], labelled: bool = True) -> list[str]:
    """A file, or the same part of it, under two labels; and one of the validation or test list that would count twice.

    A file that stands in the training list several times with one label is only said. Not `labelled`: labels mean nothing.
    """
    first_N = first_rows(files_N, videos.parts_N2)
    again = np.flatnonzero(first_N != np.arange(len(first_N)))
    other_label = again[videos.labels_N[again] != videos.labels_N[first_N[again]]] if labelled else again[:0]
    if split != "train" and len(again):
        names = list(videos.ids())  # one name twice is said already
        again = again[[names[row] != names[first] for row, first in zip(again, first_N[again], strict=True)]]
    if not len(again):
        return []
    row = other_label[0] if len(other_label) else again[0]
    one, other = videos[int(first_N[row])], videos[int(row)]
    said = f"data.{split}: {counted(len(again), 'row names', 'rows name')} a file that another row names as well"
    pair = (
        f"{other.id!r} (line {other.line}, label {other.label_text}) is the same file as {one.id!r} (line {one.line}, "
        f"label {one.label_text})"
    )
    if len(other_label):
        cure = "write both under one name, and their labels are joined"
        if videos.sets is None:
            cure = "take the wrong one out, or set data.labels multi where both are right"
        return [f"{said}, {len(other_label)} of them with another label: {pair}; {cure}"]
    if split != "train":
        return [f"{said}, and it would count twice; first {pair}; take one out"]
    logger.warning("%s, so that it is seen more often than others: %s", said, pair)
    return []
