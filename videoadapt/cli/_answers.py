"""How answers about videos are shown: bars on the terminal, a JSON record a line, rows of a CSV file."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from videoadapt.errors import counted

if TYPE_CHECKING:
    from videoadapt.inference.answers import Prediction
    from videoadapt.inference.many import Answered

Source = Mapping[str, str]  # who answers: {"run": folder} or {"adapter": file}
BAR = 30  # letters of a probability of 1


def print_bars(said: "Answered", sources: Sequence[Source]) -> None:
    """The most probable classes, with a bar each; nothing of a video that cannot be read, which an error line names."""
    for source, predictions in zip(sources, said.answers, strict=False):
        print(f"{said.video}  ({' '.join(*source.items())})")
        if said.unknown:
            print("  unknown: less like the known videos than almost all of them are; the nearest classes:")
        for line in bars(predictions):
            print(line)


def say_unreadable(number: int, of: int) -> None:
    """Say on stderr how many test videos a score counts as wrong, for they cannot be read."""
    if number:
        sys.stderr.write(f"{number} of {counted(of, 'test video')} cannot be read: counted as wrong\n")


def bars(predictions: "Sequence[Prediction]") -> list[str]:
    """A line for each class; the bars begin in one column, whatever the script."""
    from rich.cells import cell_len  # a letter of Chinese takes two columns

    width = max(cell_len(p.name) for p in predictions)
    lines = []
    for p in predictions:
        space = " " * (width - cell_len(p.name))
        mark = "" if p.is_there is None else "* " if p.is_there else "  "
        lines.append(f"  {100 * p.probability:6.2f} %  {mark}{p.name}{space}  {'#' * round(BAR * p.probability)}")
    return lines


def print_records(said: "Answered", sources: Sequence[Source]) -> None:
    """One record for each video and source, so that what reads them need not guess which is missing."""
    for number, source in enumerate(sources):
        record: dict[str, Any] = {"video": said.video, **source}
        if said.error is not None:
            record["error"] = said.error
        else:
            if said.unknown is not None:
                record["unknown"] = said.unknown
            record["predictions"] = [as_record(p) for p in said.answers[number]]
            record["damaged_frames"] = said.damaged_frames
        print(json.dumps(record, ensure_ascii=False), flush=True)


def as_record(p: "Prediction") -> dict[str, Any]:
    """One class, as JSON records have it."""
    there = {} if p.is_there is None else {"is_there": p.is_there}
    return {"label": p.label, "name": p.name, "probability": p.probability, **there}


def row_writer(
    file: IO[str], sources: Sequence[Source], top: int, several: bool, rejects: bool = False
) -> "Callable[[Answered], None]":
    """Write the header of a CSV file now, and a row for each video and source when called.

    `several`: whether a video has several labels; then it says of each class whether it is there, as 1 or 0. `rejects`:
    a column says so of the video being unknown.
    """
    of_class = ["class", "label", "probability", *(["is_there"] if several else [])]
    (kind,) = {key for source in sources for key in source}
    columns = [
        "video",
        kind,
        "error",
        "damaged_frames",
        *(["unknown"] if rejects else []),
        *(f"{name}_{k}" for k in range(1, top + 1) for name in of_class),
    ]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)

    def write(said: "Answered") -> None:
        for number, source in enumerate(sources):
            row: list[Any] = [said.video, source[kind], said.error or "", said.damaged_frames]
            row += [""] * rejects if said.unknown is None else [int(said.unknown)]
            for p in [] if said.error is not None else said.answers[number]:
                row += [p.name, p.label, f"{p.probability:.6f}", *([int(bool(p.is_there))] if several else [])]
            writer.writerow([*row, *[""] * (len(columns) - len(row))])
        file.flush()

    return write
