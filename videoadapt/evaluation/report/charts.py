"""Curves of a training and a reliability diagram, as SVG that stands in a page: its text is text, in the page's own colours.

Shapes: R records, M bins.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from videoadapt.errors import counted
from videoadapt.evaluation.calibration import Calibration
from videoadapt.runs.drawing import SCORE_TITLES

_BLUE, _ORANGE, _GREEN, _GREY = "#2f6fc1", "#d9641e", "#2f8f5b", "#8a8f98"  # to be seen on white and on black
_INK = "#010203"  # becomes the colour of the page's text
_MOST_RAW = 600  # points of the faint line; above, it is a band from the least to the most of as many groups
_SMOOTH = 60  # points of the strong line


class Chart(NamedTuple):
    """A picture, its title, and what is to be seen in it for those who cannot."""

    title: str
    svg: Markup
    said: str


def curves(metrics: Sequence[dict[str, Any]]) -> list[Chart]:
    """Loss, score and learning rate over the epochs of a training, from the records of metrics.jsonl; [] without any."""
    train = [record for record in metrics if record["kind"] == "train"]
    if not train:
        return []
    updates = [record for record in train if "skipped" not in record]
    others = [record for record in metrics if record["kind"] != "train"]
    charts = [_curve("Loss", "loss", train, updates, others)]
    score = next((key for key in SCORE_TITLES if any(key in record for record in (*updates, *others))), None)
    if score is not None:
        charts.append(_curve(SCORE_TITLES[score], score, train, updates, others))
    return [*charts, _curve("Learning rate", "lr", train, train, [])]


def epochs_of(steps: Sequence[int], train: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Epochs done after so many updates (R,); a record of metrics.jsonl says where its own update began."""
    after, epochs = [record["step"] - 1 for record in train], [record["epoch"] for record in train]
    if len(after) > 1 and after[-1] > after[-2]:  # as long as the one before
        after.append(after[-1] + 1)
        epochs.append(epochs[-1] + (epochs[-1] - epochs[-2]) / (after[-2] - after[-3]))
    return np.interp(steps, after, epochs)


def _curve(
    title: str, key: str, train: Sequence[dict[str, Any]], updates: Sequence[Any], others: Sequence[Any]
) -> Chart:
    figure, axes = _figure(3.0)
    updates, others = ([record for record in of if key in record] for of in (updates, others))
    said = []
    if updates:
        values_R = np.array([record[key] for record in updates], dtype=np.float64)
        epochs_R = epochs_of([record["step"] for record in updates], train)
        said.append(f"training from {values_R[0]:.4g} to {values_R[-1]:.4g} in {counted(len(values_R), 'update')}")
        if key == "lr":
            axes.plot(epochs_R, values_R, color=_BLUE)
        elif (size := _draw_noisy(axes, epochs_R, values_R, _GREY if key in SCORE_TITLES else _BLUE)) > 1:
            said[0] += f", of which the strong line has means of {size}"
    if others:
        best = (max if key in SCORE_TITLES else min)(others, key=lambda record: record[key])
        epochs_R = epochs_of([record["step"] for record in others], train)
        (best_epoch,) = epochs_of([best["step"]], train)
        what = f"validation, best {best[key]:.4g}{' %' if key in SCORE_TITLES else ''} after {best_epoch:.3g} epochs"
        axes.plot(epochs_R, [record[key] for record in others], color=_ORANGE, marker="o", ms=3.5, label="validation")
        said.append(what)
    if key in SCORE_TITLES:
        axes.set_ylim(0, 102)
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    else:
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))  # the margin has room for five digits
    if key == "lr":
        axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return Chart(title, _svg(figure, key), "; ".join(said))


def _draw_noisy(axes: Axes, epochs_R: NDArray[np.float64], values_R: NDArray[np.float64], colour: str) -> int:
    """What was measured, faint, and over it the means of groups of updates, of which this returns the size."""
    if len(values_R) > _MOST_RAW:
        groups = np.array_split(np.arange(len(values_R)), min(_MOST_RAW, len(values_R) // 2))  # one alone is no band
        low, high, at = (np.array([f(of_R[g]) for g in groups]) for f, of_R in (
            (np.min, values_R), (np.max, values_R), (np.mean, epochs_R),
        ))  # fmt: skip
        axes.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0)
    else:
        axes.plot(epochs_R, values_R, color=colour, alpha=0.3, linewidth=0.8)
    groups = np.array_split(np.arange(len(values_R)), min(_SMOOTH, len(values_R)))
    axes.plot(
        [epochs_R[g].mean() for g in groups], [values_R[g].mean() for g in groups], color=colour, label="training"
    )
    return len(groups[0])


def reliability(found: Calibration) -> Chart:
    """How often answers of each confidence are right, over how many of them there are."""
    figure, axes, counts = _figure(3.6, (3, 1))
    bins = len(found.videos_M)
    middle_M, filled_M = (np.arange(bins) + 0.5) / bins, found.videos_M > 0
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":", label="as often right as said")
    width, known_M = 0.92 / bins, middle_M[filled_M]
    axes.bar(known_M, found.right_M[filled_M], width, color=_BLUE, label="right")
    axes.plot(
        found.confidence_M[filled_M], found.right_M[filled_M], "o", ms=3.5, color=_ORANGE, label="mean confidence"
    )
    counts.bar(middle_M, found.videos_M, width, color=_GREY)
    for each in (axes, counts):
        each.set_xlim(0, 1)
        each.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("right")
    counts.set_ylabel("videos")
    counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    counts.ticklabel_format(axis="y", scilimits=(0, 4))
    counts.set_xlabel("probability of the answer")
    error = "" if found.error is None else f"expected calibration error {100 * found.error:.2f} %"
    return Chart("Answers by their probability", _svg(figure, "reliability"), error)


def _figure(height_inch: float, rows: Sequence[int] = (1,)) -> Any:
    """A figure with margins for what stands there; matplotlib's layout would find them by drawing all of it twice more."""
    figure = Figure(figsize=(4.6, height_inch))
    margins = {"left": 0.16, "right": 0.95, "bottom": 0.5 / height_inch, "top": 1 - 0.25 / height_inch, "hspace": 0.1}
    return figure, *figure.subplots(len(rows), 1, height_ratios=rows, sharex=True, squeeze=False, gridspec_kw=margins)[
        :, 0
    ]


def _svg(figure: Figure, name: str) -> Markup:
    """`name` goes before all ids, which are to be unique in a page."""
    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_INK)
        axes.tick_params(colors=_INK)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(_INK)
        if axes.get_legend_handles_labels()[0]:
            above: dict[str, Any] = {
                "loc": "lower left",
                "bbox_to_anchor": (0, 1),
                "ncols": 3,
                "columnspacing": 1.2,
                "borderpad": 0,
            }
            axes.legend(frameon=False, fontsize=8, labelcolor=_INK, **above)
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(text, metadata=nothing)
    found = text.getvalue()
    found = re.sub(r"<metadata>.*?</metadata>", "", found[found.index("<svg") :], flags=re.S)
    found = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', found, count=1)
    found = re.sub(r'\bid="', f'id="{name}-', found)
    found = re.sub(r'xlink:href="#', f'href="#{name}-', found).replace("url(#", f"url(#{name}-")
    found = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", found)
    background = r'<g id="[\w-]*patch_1">.*?</g>'  # the page's own
    return Markup(re.sub(background, "", found, count=1, flags=re.S).replace(_INK, "currentColor"))
