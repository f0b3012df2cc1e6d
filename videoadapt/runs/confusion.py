"""confusion.png and per_class.csv: which class is taken for which. Every percentage is 0-100.

Shapes: N videos, K classes.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from videoadapt.errors import counted
from videoadapt.files import write_atomically
from videoadapt.runs.drawing import save_png, shorten
from videoadapt.runs.lettering import on_one_line

_DPI = 150
_MOST_NUMBERED_CELLS = 20  # above, the numbers in the cells are dropped
_MOST_NAMED_CLASSES = 200  # above, a name would be smaller than its row: indices every so often instead


def confusion_matrix(labels_N: np.ndarray, predicted_N: np.ndarray, num_classes: int) -> np.ndarray:
    """Count videos: int64 (K, K), row = true class, column = predicted class; -1 (unreadable) is in no column."""
    counts_KK = np.zeros((num_classes, num_classes), dtype=np.int64)
    answered_N = predicted_N >= 0
    np.add.at(counts_KK, (labels_N[answered_N], predicted_N[answered_N]), 1)
    return counts_KK


def plot_confusion(labels_N: np.ndarray, predicted_N: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Draw which class is taken for which as a PNG: rows are true classes, in percent of their videos.

    predicted_N: the best class of each video, -1 where unreadable: that counts in the row's total and in no column.
    """
    save_png(path, lambda: _confusion_figure(labels_N, predicted_N, class_names), class_names, cropped=True)


def _confusion_figure(labels_N: np.ndarray, predicted_N: np.ndarray, class_names: Sequence[str]) -> Figure:
    num_classes = len(class_names)
    videos_K1 = np.bincount(labels_N, minlength=num_classes)[:, None]
    percent_KK = 100 * confusion_matrix(labels_N, predicted_N, num_classes) / np.maximum(videos_K1, 1)
    side_inch = float(np.clip(0.17 * num_classes + 3.5, 5, 20))
    figure = Figure(figsize=(side_inch, side_inch), dpi=_DPI)
    axes = figure.subplots()
    # the root keeps rare mistakes visible beside a full diagonal
    image = axes.imshow(percent_KK, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, fraction=0.03, aspect=30, pad=0.02, format=PercentFormatter(decimals=0))
    bar.outline.set_visible(False)
    font_pt = max(9.0, 0.9 * side_inch)
    axes.set_title(_summary(labels_N, predicted_N), fontsize=font_pt)
    axes.set_xlabel("predicted class", fontsize=font_pt)
    axes.set_ylabel("true class", fontsize=font_pt)
    _name_ticks(axes, class_names, side_inch)
    if num_classes <= _MOST_NUMBERED_CELLS:
        for row, column in np.argwhere(percent_KK > 0):
            value = percent_KK[row, column]
            colour = "white" if value > 35 else "#30343b"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8)
    return figure


def _summary(labels_N: np.ndarray, predicted_N: np.ndarray) -> str:
    if not len(labels_N):
        return "no videos"
    right = 100 * float((labels_N == predicted_N).mean())
    unreadable = int((predicted_N < 0).sum())
    return f"top-1 {right:.2f} % of {counted(len(labels_N), 'video')}" + (
        f" ({unreadable} unreadable)" if unreadable else ""
    )


def _name_ticks(axes: Axes, class_names: Sequence[str], side_inch: float) -> None:
    num_classes = len(class_names)
    axes.tick_params(length=0)
    axes.spines[:].set_color("#c9ccd1")
    if num_classes > _MOST_NAMED_CLASSES:
        every = num_classes // 100 * 5
        axes.set_xticks(range(0, num_classes, every))
        axes.set_yticks(range(0, num_classes, every))
        axes.set_ylabel("true class (row of per_class.csv, from 0)")
        axes.set_xlabel("predicted class (row of per_class.csv, from 0)")
        return
    names = [shorten(on_one_line(name)) for name in class_names]
    font_pt = min(9.0, 0.65 * 72 * side_inch / num_classes)  # two thirds of the picture are cells
    axes.set_xticks(range(num_classes), names, rotation=90, fontsize=font_pt)
    axes.set_yticks(range(num_classes), names, fontsize=font_pt)


def write_per_class(
    labels_N: np.ndarray, predicted_N: np.ndarray, ranks_N: np.ndarray, class_names: Sequence[str], path: Path
) -> None:
    """Write one row per class as CSV: videos, top-1 and top-5 (%), the most frequent wrong answer, its share (%).

    predicted_N: best class, -1 where unreadable; ranks_N: rank of the true class, 0 = best. A class without videos
    has empty cells.
    """
    wrong_KK = confusion_matrix(labels_N, predicted_N, len(class_names))
    np.fill_diagonal(wrong_KK, 0)
    rows = [["class", "videos", "top1", "top5", "most_confused_with", "confused"]]
    for label, name in enumerate(class_names):
        of_class_N = labels_N == label
        num_videos = int(of_class_N.sum())
        row = [name, str(num_videos), "", "", "", ""]
        if num_videos:
            top1, top5 = (100 * float((ranks_N[of_class_N] < k).mean()) for k in (1, min(5, len(class_names))))
            row[2:4] = f"{top1:.2f}", f"{top5:.2f}"
        if wrong_KK[label].any():
            other = int(wrong_KK[label].argmax())
            row[4:6] = class_names[other], f"{100 * wrong_KK[label, other] / num_videos:.2f}"
        rows.append(row)

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    write_atomically(path, write)
