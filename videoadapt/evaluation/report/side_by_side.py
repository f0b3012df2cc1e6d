"""compare.html, and the same as lines for a terminal."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from videoadapt.errors import counted
from videoadapt.evaluation.intervals import Interval
from videoadapt.evaluation.report._templates import render
from videoadapt.evaluation.report.comparison import MOST_LISTED, Comparison, compare
from videoadapt.files import write_text
from videoadapt.runs.lettering import on_one_line


def write_comparison(folders: Mapping[str, Path], path: Path) -> Comparison:
    """Compare runs by their names and write the page. Raises as `compare` does."""
    found = compare(folders)
    links = {run.name: _link(run.report, path) for run in found.runs if run.report is not None}
    write_text(
        path, render("compare.html", found=found, links=links, most=MOST_LISTED, name=path.resolve().parent.name)
    )
    return found


def _link(report: Path, page: Path) -> str:
    """From the page to a report, relative, so that the folder of both may move."""
    return quote(Path(os.path.relpath(report, page.parent)).as_posix())


def lines(found: Comparison) -> list[str]:
    """The table of the scores, and under it what each run changes against the first."""
    names = [score.name for score in found.runs[0].scores]
    rows = [["run", *names, "trained"]]
    for run in found.runs:
        shown = ["none" if score.value is None else f"{score.value:.2f} %" for score in run.scores]
        rows.append([on_one_line(run.name), *shown, f"{run.tested.results['trained_parameters']:,}"])
    rows.append([])
    rows.append([f"against {on_one_line(found.runs[0].name)}", "difference", "95 %"])
    if found.num_groups is not None:
        rows[-1].append(f"95 % over {counted(found.num_groups, 'group')}")
    if not found.runs[0].tested.is_multi:
        rows[-1] += ["gained", "lost", "McNemar's p"]
    for against in found.against:
        row = [on_one_line(against.run.name), f"{against.difference:+.2f} points", _interval(against.by_videos)]
        if found.num_groups is not None:
            row.append(_interval(against.by_groups))
        if against.changes is not None:
            row += [str(against.changes.gained), str(against.changes.lost), f"{against.changes.p:.2g}"]
        rows.append(row)
    return [*_aligned(rows), *_tested_otherwise(found)]


def _tested_otherwise(found: Comparison) -> list[str]:
    """A line for each run whose test did not do as its config says, so that a difference may be of the test."""
    said = []
    for run in found.runs:
        if values := ", ".join(f"{key} = {json.dumps(value)}" for key, value in run.tested_otherwise.items()):
            said.append(f"{on_one_line(run.name)} was tested otherwise than it was trained: {values}")
    return ["", *said] if said else []


def _interval(of: Interval | None) -> str:
    return "" if of is None else f"{of[0]:+.2f} to {of[1]:+.2f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Two tables, each with columns of one width, the first to the left and the others to the right."""
    split = rows.index([])
    found: list[str] = []
    for table in (rows[:split], rows[split + 1 :]):
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            found.append("  ".join(cells).rstrip())
        found.append("")
    return found[:-1]
