"""Each class of videos with several labels: average_precision.png and per_class.csv. Every percentage is 0-100.

Shapes: K classes.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from videoadapt.errors import counted
from videoadapt.files import write_atomically
from videoadapt.runs.drawing import save_png, shorten
from videoadapt.runs.lettering import on_one_line

_DPI = 150
_BLUE, _ORANGE = "#1f5fa8", "#d9641e"
_MOST_NAMED = 200  # above, a name would be smaller than its bar


class ClassScore(NamedTuple):
    """A class: how many videos have it, are called so and are rightly, its threshold, and its average precision from 0 to 1.

    The last is None where no video has it.
    """

    name: str
    there: int
    called: int
    right: int
    threshold: float
    average_precision: float | None


def write_class_scores(scores: Sequence[ClassScore], path: Path) -> None:
    """Write one row per class as CSV; what cannot be said of a class that no video has, or is called, is empty."""
    rows = [["class", "videos", "average_precision", "threshold", "called", "precision", "recall", "f1"]]
    for of in scores:
        ap = "" if of.average_precision is None else f"{100 * of.average_precision:.2f}"
        parts = ((of.right, of.called), (of.right, of.there), (2 * of.right, of.there + of.called))
        shares = [f"{100 * part / whole:.2f}" if whole else "" for part, whole in parts]
        rows.append([of.name, str(of.there), ap, f"{of.threshold:.6f}", str(of.called), *shares])

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    write_atomically(path, write)


def plot_class_scores(scores: Sequence[ClassScore], num_videos: int, path: Path) -> None:
    """Draw the average precision of each class that a video has as a PNG, the best on top, beside its share of the videos.

    That share is what scores of chance get.
    """
    known = sorted((of for of in scores if of.average_precision is not None), key=lambda of: of.average_precision or 0)
    save_png(path, lambda: _bars_figure(known, num_videos), [of.name for of in known], cropped=True)


def _bars_figure(known: Sequence[ClassScore], num_videos: int) -> Figure:
    height_inch = float(np.clip(0.24 * len(known) + 1.4, 2.4, 40))
    figure = Figure(figsize=(8, height_inch), dpi=_DPI)
    axes = figure.subplots()
    places, percent = range(len(known)), [100 * (of.average_precision or 0) for of in known]
    axes.barh(places, percent, height=0.72, color=_BLUE)
    chance = [100 * of.there / num_videos for of in known]
    axes.plot(chance, places, "|", color=_ORANGE, markersize=9, markeredgewidth=2, label="share of the videos (chance)")
    if len(known) <= _MOST_NAMED:
        axes.set_yticks(places, [shorten(on_one_line(of.name)) for of in known], fontsize=9)
        for place, value in zip(places, percent, strict=True):
            axes.text(value + 0.8, place, f"{value:.1f}", va="center", fontsize=8, color="#30343b")
    mean = f"{np.mean(percent):.2f} %" if known else "none"
    axes.set_title(f"mAP {mean} over {len(known)} classes, {counted(num_videos, 'video')}", fontsize=11)
    axes.set_xlabel("average precision")
    axes.set_xlim(0, 108)
    axes.set_ylim(-0.7, max(len(known), 1) - 0.3)
    axes.set_xticks(range(0, 101, 20))
    axes.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.75 / height_inch))
    return figure
