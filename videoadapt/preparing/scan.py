"""Checking a whole list before training: what is wrong with which row, and the list without those rows."""

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from videoadapt.data.datasets.video_list import VideoList
from videoadapt.data.list_files import write_list
from videoadapt.data.structures import Video
from videoadapt.errors import DecodeError, counted
from videoadapt.files import write_atomically, write_json
from videoadapt.log import progress
from videoadapt.preparing.inspection import Inspection, inspect_file
from videoadapt.processes.worker import Lost, map_in_processes
from videoadapt.video.part import AnyPart, FramePart, Part

# A row with a fault is not in the cleaned list; a row with a note is.
FAULTS = {
    "unreadable": "cannot be decoded",
    "short": "fewer frames than --min-frames",
    "part": "a part that begins or ends after the film, or has more frames than it",
    "label": "label outside the classes",
    "twice": "the same file in an earlier row, with this label",
    "copy": "the same content as an earlier row, with this label",
    "contradiction": "the same content in another row with another label",
    "wrong frames": "the decoder gives other frames than reading in order",
}
NOTES = {
    "header": "the header announces another number of frames",
    "damaged": "FFmpeg conceals damage in frames, or reports errors while it reads on",
    "interlaced": "frames of two moments, each read as one picture",
    "pixels": "pixels that are not square, read as if they were",
    "hdr": "an HDR film (PQ or HLG), read as if it was an ordinary one: flatter and of other colours",
}


@dataclass
class Row:
    """A row of the list and what was found; `reasons` says of each fault in words what it is."""

    video: Video
    found: Inspection | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """The names of its faults, in the order in which they were found."""
        return list(self.reasons)

    @property
    def reason(self) -> str:
        """What the first fault is, in words; "" without one."""
        return next(iter(self.reasons.values()), "")

    def blame(self, fault: str, reason: str) -> None:
        """Add a fault, once."""
        self.reasons.setdefault(fault, reason)


def scan(
    source: str,
    root: Path,
    *,
    num_classes: int | None,
    decoder: Mapping[str, Any],
    min_frames: int,
    jobs: int,
    limit_sec: float,
    dataset: Any = None,
) -> list[Row]:
    """Decode every file of the list `source` in `jobs` processes and judge every row; `dataset` reads it, if no video_list.

    Without `num_classes` labels are not judged. Raises DataListError when the list itself cannot be read.
    """
    rows = [Row(video) for video in (dataset or VideoList()).load(source, root)]
    of_file: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_file[os.path.realpath(row.video.path)].append(row)
    paths = [Path(path) for path in of_file]
    with progress("scan", len(paths), "files") as line:
        for index, result in map_in_processes(partial(inspect_file, decoder=decoder), paths, jobs, limit_sec):
            for row in of_file[str(paths[index])]:
                _judge_file(row, result, min_frames)
            line.advance()
    for row in rows:
        own = (row.video.label,) if row.video.labels is None else row.video.labels
        if num_classes is not None and max(own, default=0) >= num_classes:
            row.blame("label", f"label {row.video.label_text}; allowed: 0 to {num_classes - 1}")
    of_part: dict[tuple[str, AnyPart | None], list[Row]] = defaultdict(list)
    for row in rows:
        of_part[os.path.realpath(row.video.path), row.video.part].append(row)
    for same_file in of_part.values():
        _judge_repeats(same_file, "twice")
    of_content: dict[tuple[str, AnyPart | None], list[Row]] = defaultdict(list)
    for row in rows:
        if row.found and "twice" not in row.faults:
            of_content[row.found.sha256, row.video.part].append(row)
    for same_content in of_content.values():
        _judge_repeats(same_content, "copy")
    return rows


def _judge_file(row: Row, result: Inspection | DecodeError | Lost, min_frames: int) -> None:
    if isinstance(result, Lost):
        row.blame("unreadable", result.reason)
    elif isinstance(result, DecodeError):
        row.blame("unreadable", str(result))
    else:
        row.found = result
        if result.wrong:
            row.blame("wrong frames", f"{result.decoder}: {result.wrong}")
        part, fps_hz = row.video.part or FramePart(), result.fps_hz
        if isinstance(part, Part) and not fps_hz:
            row.blame(
                "part", "seconds of a folder whose rate is not stated; --decoder '{name: frame_folder, fps_hz: 25}'"
            )
            return
        if problem := part.problem_in(result.frames, result.frames / fps_hz if fps_hz else 0.0):
            row.blame("part", problem)
        frames = part.num_frames_in(result.frames, fps_hz)
        if not problem and frames < min_frames:
            row.blame("short", f"{counted(frames, 'frame')}; allowed: {min_frames} or more")
        if result.header_frames not in (0, result.frames):
            row.notes.append("header")
        if result.damaged_frames or result.complaint:
            row.notes.append("damaged")
        if result.interlaced_frames:
            row.notes.append("interlaced")
        if result.pixel_aspect != "1:1":
            row.notes.append("pixels")
        if result.hdr:
            row.notes.append("hdr")


def _judge_repeats(rows: Sequence[Row], fault: str) -> None:
    """Of rows with the same content, the first stays when all have one label, and none when they have several."""
    if len({row.video.label_text for row in rows}) > 1:
        for row in rows:
            other = next(r for r in rows if r.video.label_text != row.video.label_text)
            row.blame(
                "contradiction", f"label {row.video.label_text}, but {other.video.label_text} as {other.video.id}"
            )
        return
    for row in rows[1:]:
        row.blame(fault, f"the same as {rows[0].video.id}")


def summary(rows: Sequence[Row]) -> dict[str, int]:
    """Number of rows with each fault and note that occurs, of frames with damage, and of rows by how their files are read."""
    found = Counter(name for row in rows for name in (*row.faults, *row.notes))
    read = Counter("by seeking" if not row.found.in_order_because else "in order" for row in rows if row.found)
    damaged = sum(row.found.damaged_frames for row in rows if row.found)
    return (
        {name: found[name] for name in (*FAULTS, *NOTES) if found[name]}
        | ({"frames with concealed damage": damaged} if damaged else {})
        | {f"read {way}": n for way, n in read.items()}
    )


def write_report(rows: Sequence[Row], folder: Path, settings: Mapping[str, Any]) -> Path | None:
    """Write report.json, report.csv and clean.csv into `folder`; return the cleaned list, None when no row is left."""
    names = [f.name for f in fields(Inspection)]
    records = [
        {
            "video": row.video.id,
            "label": row.video.label if row.video.labels is None else row.video.label_text,
            "faults": row.faults,
            "notes": row.notes,
            "reason": row.reason,
            **(asdict(row.found) if row.found else dict.fromkeys(names)),
        }
        for row in rows
    ]
    report = {"settings": settings, "num_rows": len(rows), "summary": summary(rows), "rows": records}
    write_json(folder / "report.json", report)

    def write_csv(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows({**r, "faults": "; ".join(r["faults"]), "notes": "; ".join(r["notes"])} for r in records)

    write_atomically(folder / "report.csv", write_csv)
    clean = folder / "clean.csv"
    kept = [row.video for row in rows if not row.faults]
    if not kept:
        clean.unlink(missing_ok=True)
        return None
    write_list(clean, kept)
    return clean
