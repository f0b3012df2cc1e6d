"""What the lists of a run share: the same files, and, by a cheap look, files that seem to hold the same bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt import distributed, logger
from videoadapt.data.copies import PART_BYTES, by_key, part_of
from videoadapt.data.file_identity import first_rows, num_shared, overlap
from videoadapt.data.structures import Video
from videoadapt.data.videos import WHOLE, VideoRows
from videoadapt.errors import counted

MOST_OPENED = 512  # files at most, PART_BYTES of each: 8 MiB of reading, before which a start is no slower
_HARM = (
    ("train", "test", "the test accuracy will be too high"),
    ("val", "test", "`best` is then chosen on the test set, and its accuracy is too high"),
    ("train", "val", "`best` will prefer the most overfitted"),
)


def say_overlaps(lists: Mapping[str, VideoRows], files: Mapping[str, NDArray[Any]]) -> None:
    """Warn of files that two lists share, and of copies; `files`: of each list a result of `find_files`."""
    for one, other, harm in _HARM:
        if shared := num_shared(files[one], files[other], lists[one].parts_N2, lists[other].parts_N2):
            logger.warning("data.%s and data.%s share %s: %s", one, other, counted(shared, "video"), harm)
    if distributed.is_main():
        _say_copies(lists, files)


def _say_copies(lists: Mapping[str, VideoRows], files: Mapping[str, NDArray[Any]]) -> None:
    """Open some of the files that have another one's size, and compare what is in their middle."""
    of_size, num_alike = _of_equal_size(files)
    if not of_size:
        return
    videos = {place: lists[place[0]][place[1]] for places in of_size for place in places}
    found = []
    for places in of_size:
        groups = by_key(range(len(places)), lambda index, places=places: part_of(str(videos[places[index]].path)))  # type: ignore[misc]
        found += [[places[index] for index in group] for group in groups]
    logger.info(
        "looked for copies under other names: %d of the %s another one's size, %d bytes of each%s",
        len(videos),
        counted(num_alike, "file that has", "files that have"),
        PART_BYTES,
        "; the command `prepare check` looks at all" if len(videos) < num_alike else "",
    )
    for one, other, harm in _HARM:
        across = [(a, b) for group in found for a in group for b in group if (a[0], b[0]) == (one, other)]
        pairs = [
            (videos[a], videos[b])
            for a, b in across
            if overlap(*(_parts_of_file(lists[split], files[split], row) for split, row in (a, b)))
        ]
        _say(f"data.{one} and data.{other}", pairs, harm)
    for split in lists:
        if lists[split].parts_N2 is not None:
            continue  # parts of a copied film have labels of their own
        within = [[videos[place] for place in group if place[0] == split] for group in found]
        pairs = [(group[0], video) for group in within for video in group[1:]]
        _say(
            f"data.{split}",
            [p for p in pairs if p[0].label_text != p[1].label_text],
            "one of their two labels is wrong",
        )
        _say(
            f"data.{split}",
            [p for p in pairs if p[0].label_text == p[1].label_text],
            "they count more often than others",
        )


def _parts_of_file(videos: VideoRows, files_N: NDArray[Any], row: int) -> NDArray[np.float64]:
    """All parts (M, 2) in this list of the film that a row is of."""
    return np.array([WHOLE]) if videos.parts_N2 is None else videos.parts_N2[files_N == files_N[row]]


def _say(where: str, pairs: list[tuple[Video, Video]], harm: str) -> None:
    if pairs:
        (one, other), num = pairs[0], len({video.id for _, video in pairs})
        logger.warning(
            "%s: %s under another name, first %s (line %d) of %s (line %d): %s; the command "
            "`prepare check` compares all of them whole",
            where, counted(num, "file seems to be a copy", "files seem to be copies"),
            other.id, other.line, one.id, one.line, harm,
        )  # fmt: skip


def _of_equal_size(files: Mapping[str, NDArray[Any]]) -> tuple[list[list[tuple[str, int]]], int]:
    """Groups of (list, row) whose files have one size, those that span lists first, MOST_OPENED in all; and how many there are.

    Several names of one file count as one, and an empty file not at all.
    """
    files_N = np.concatenate(list(files.values()))
    split_N = np.repeat(np.arange(len(files)), [len(of_list) for of_list in files.values()])
    row_N = np.concatenate([np.arange(len(of_list)) for of_list in files.values()])
    chosen = np.flatnonzero((first_rows(files_N) == np.arange(len(files_N))) & (files_N["size"] > 0))
    _, group, count = np.unique(files_N["size"][chosen], return_inverse=True, return_counts=True)
    chosen, group = chosen[count[group] > 1], group[count[group] > 1]
    lists_of = np.zeros(len(count), dtype=np.int64)
    np.bitwise_or.at(lists_of, group, 1 << split_N[chosen])
    within_one = (lists_of & (lists_of - 1)) == 0
    order = np.lexsort((group, within_one[group]))[:MOST_OPENED]
    names = list(files)
    groups: dict[int, list[tuple[str, int]]] = {}
    for index in order:
        place = names[split_N[chosen[index]]], int(row_N[chosen[index]])
        groups.setdefault(int(group[index]), []).append(place)
    return [places for places in groups.values() if len(places) > 1], len(chosen)
