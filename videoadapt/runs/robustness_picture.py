"""robustness.png: the scores of a run under each corruption and strength, as a table in colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from videoadapt.runs.drawing import SCORE_TITLES, save_png


def plot_robustness(results: dict[str, Any], path: Path) -> None:
    """Draw the content of robustness.json: kinds that keep the label above, those that may change it below."""
    save_png(path, lambda: _figure(results))


def _figure(results: dict[str, Any]) -> Figure:
    tables = [("corruptions", results["corruptions"]), ("what may change the label", results["sensitivity"])]
    tables = [(title, table) for title, table in tables if table]
    rows = [len(table) for _, table in tables] or [1]
    figure = Figure(figsize=(7.2, 1.7 + 0.34 * sum(rows) + 0.5 * len(rows)), dpi=150, layout="constrained")
    clean, mean = results["clean"]["score"], results["mean"]["score"]
    said = f"{SCORE_TITLES[results['measure']]}: {_percent(clean)} on videos as they are"
    figure.suptitle(f"{said}, {_percent(mean)} in the mean over corruptions" if mean is not None else said, fontsize=10)
    every = figure.subplots(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
    strengths = sorted({strength for _, table in tables for of in table.values() for strength in of["strengths"]})
    for axes, (title, table) in zip(every, tables, strict=False):
        _draw(axes, title, table, strengths, clean)
    return figure


def _draw(axes: Axes, title: str, table: dict[str, Any], strengths: Sequence[str], clean: float | None) -> None:
    values = np.full((len(table), len(strengths) + 1), np.nan)
    for row, of in enumerate(table.values()):
        for strength, found in of["strengths"].items():
            values[row, strengths.index(strength)] = np.nan if found["score"] is None else found["score"]
        values[row, -1] = np.nan if of["mean"] is None else of["mean"]
    axes.imshow(values, cmap="RdYlBu", vmin=0, vmax=clean or 100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            strong = abs(value / (clean or 100) - 0.5) > 0.38
            axes.text(
                column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color="white" if strong else "black"
            )
    axes.set_xticks(range(len(strengths) + 1), [*strengths, "mean"])
    axes.set_yticks(range(len(table)), [kind.replace("_", " ") for kind in table])
    axes.axvline(len(strengths) - 0.5, color="white", linewidth=3)
    axes.set_title(f"{title}, by strength", fontsize=9, loc="left")
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} %"
