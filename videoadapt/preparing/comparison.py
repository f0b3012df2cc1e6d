"""Lists compared with one another and with themselves: which rows are one file, the same bytes, or look alike."""

import csv
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from videoadapt.data.copies import find_copies
from videoadapt.data.datasets.video_list import read_list
from videoadapt.data.label_sets import Kind
from videoadapt.data.structures import Video
from videoadapt.data.videos import WHOLE
from videoadapt.errors import DataListError, counted
from videoadapt.files import write_atomically

KINDS = {
    "contradiction": "the same file or content with another label",
    "shared": "one file in two lists",
    "copy": "the same content under two names",
    "twice": "one file in two rows of a list",
    "alike": "pictures that look alike, as of clips cut from one film; look at them yourself",
}
ABSENT = "there is no such file"
# Of (paths, indices that are alike with the number of frames, and what cannot be read)
NearCopies = Callable[[Sequence[Path]], tuple[list[tuple[int, int, int]], dict[int, str]]]


class Place(NamedTuple):
    """A row of one of the lists."""

    source: str
    video: Video

    def __str__(self) -> str:
        return f"{self.video.id} ({self.source}, line {self.video.line}, label {self.video.label_text})"


@dataclass(frozen=True)
class Finding:
    """Two rows that are one of KINDS; `frames` that are alike, where it is that."""

    kind: str
    one: Place
    other: Place
    frames: int = 0


def compare(
    sources: Sequence[str], root: Path, near_copies: NearCopies | None, labels: Kind = "single"
) -> tuple[list[Finding], list[tuple[Place, str]]]:
    """Compare all rows of the lists; return what was found, in the order of KINDS, and the files that cannot be read.

    Each row is paired with the first that is the same. Raises DataListError for a list that cannot be read, and where none of
    its files is in `root`: nothing would be found, as in lists without a fault.
    """
    places = [Place(source, video) for source in sources for video in read_list(source, root, labels)]
    of_file: dict[str, list[Place]] = defaultdict(list)
    for place in places:
        of_file[os.path.realpath(place.video.path)].append(place)
    absent = [path for path in of_file if not os.path.exists(path)]
    if places and len(absent) == len(of_file):
        raise DataListError(
            f"--root {root}: none of {counted(len(absent), 'video')} of {', '.join(sources)} is there, first "
            f"{places[0].video.path} (line {places[0].video.line}); name the folder that the paths start from"
        )
    missing = [(of_file.pop(path)[0], ABSENT) for path in absent]
    paths = list(of_file)
    groups = find_copies(paths)
    copied = {index for group in groups for index in group[1:]}
    findings: list[Finding] = []
    for index in set(range(len(paths))) - {index for group in groups for index in group}:
        findings += _pairs(of_file[paths[index]])
    for group in groups:
        findings += _pairs([place for index in group for place in of_file[paths[index]]])
    unread: list[tuple[Place, str]] = []
    if near_copies is not None:
        rest = [path for index, path in enumerate(paths) if index not in copied]
        pairs, failed = near_copies([Path(path) for path in rest])
        findings += [Finding("alike", of_file[rest[a]][0], of_file[rest[b]][0], frames) for a, b, frames in pairs]
        unread = [(of_file[rest[index]][0], reason) for index, reason in sorted(failed.items())]
    order = {place: number for number, place in enumerate(places)}
    kinds = list(KINDS)
    return sorted(
        findings, key=lambda f: (kinds.index(f.kind), -f.frames, order[f.one], order[f.other])
    ), missing + unread


def _pairs(same: Sequence[Place]) -> list[Finding]:
    """What rows with the same content are to the first of them, or to the first with another label.

    Of parts of a film, those that are equal, and between lists those that overlap.
    """
    if any(place.video.part for place in same):
        pairs = ([one, other] for number, other in enumerate(same) for one in same[:number] if _clash(one, other))
        return [finding for pair in pairs for finding in _compared(pair)]
    return _compared(same)


def _clash(one: Place, other: Place) -> bool:
    if one.source == other.source:
        return one.video.part == other.video.part
    return (one.video.part or WHOLE).overlaps(other.video.part or WHOLE)


def _compared(same: Sequence[Place]) -> list[Finding]:
    found = []
    for place in same[1:]:
        other = next((p for p in same if p.video.label_text != place.video.label_text), None)
        if other is not None:
            found.append(Finding("contradiction", other, place))
            continue
        one_file = os.path.realpath(place.video.path) == os.path.realpath(same[0].video.path)
        kind = "copy" if not one_file else "twice" if place.source == same[0].source else "shared"
        found.append(Finding(kind, same[0], place))
    return found


def write_findings(findings: Sequence[Finding], path: Path) -> None:
    """Write one row for each finding as CSV."""

    def row(finding: Finding) -> Mapping[str, Any]:
        sides = {"one": finding.one, "other": finding.other}
        return {"kind": finding.kind, "frames": finding.frames or ""} | {
            f"{side}_{key}": value
            for side, place in sides.items()
            for key, value in (
                ("list", place.source), ("line", place.video.line), ("video", place.video.id),
                ("label", place.video.label_text),
            )
        }  # fmt: skip

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            names = ["list", "line", "video", "label"]
            writer = csv.DictWriter(file, ["kind", "frames", *(f"{s}_{n}" for s in ("one", "other") for n in names)])
            writer.writeheader()
            writer.writerows(map(row, findings))

    write_atomically(path, write)
