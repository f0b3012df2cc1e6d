"""The picture of a cross-validation: every fold's top-1, their mean, and both intervals. Percentages 0-100."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from matplotlib.figure import Figure

from videoadapt.runs.drawing import save_png

# name, top-1 of each fold, mean, its interval, pooled, its interval
Row: TypeAlias = tuple[str, Sequence[float], float, tuple[float, float] | None, float, tuple[float, float] | None]
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d9641e", "#8a8f98"


def plot_folds(rows: Sequence[Row], units: str, path: Path) -> None:
    """Draw a line of the picture for each row, as a PNG; `units`: what the pooled interval draws, groups or videos."""
    save_png(path, lambda: _figure(rows, units), (row[0] for row in rows))


def _figure(rows: Sequence[Row], units: str) -> Figure:
    figure = Figure(figsize=(8, 1.8 + 0.75 * len(rows)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for place, (_, folds, mean, of_mean, pooled, of_pooled) in enumerate(rows):
        first = place == 0
        axes.plot(folds, [place] * len(folds), "o", color=_GREY, alpha=0.7, ms=6, label="one fold" if first else None)
        for value, interval, shift, colour, label in (
            (mean, of_mean, -0.2, _BLUE, "mean of folds, t interval (95 %)"),
            (pooled, of_pooled, 0.2, _ORANGE, f"all videos pooled, bootstrap over {units} (95 %)"),
        ):
            if interval is not None:
                axes.plot(interval, [place + shift] * 2, "-", color=colour, lw=2.5, solid_capstyle="butt")
            axes.plot([value], [place + shift], "D", color=colour, ms=6, label=label if first else None)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("top-1 (%)")
    axes.grid(axis="x", color="#e3e5e8")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure
