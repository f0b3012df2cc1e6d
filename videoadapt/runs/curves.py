"""curves.png: the loss, the accuracy and the learning rate of a training over its steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from videoadapt.runs.drawing import SCORE_TITLES, save_png

_DPI = 150
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d9641e", "#8a8f98"
_MARGINS = {"left": 0.06, "right": 0.985, "bottom": 0.15, "top": 0.9, "wspace": 0.25}  # enough for any numbers


def plot_curves(metrics: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw training loss, top-1 (%) and learning rate over the steps of `metrics` (records of metrics.jsonl) as a PNG.

    A record has `kind` and `step`; "train" records `loss`, `top1` and `lr`, all others ("val") `top1` and, of newer runs,
    `loss`. In place of `top1`, validations of several labels a video have `mAP`; without any that part is left out.
    """
    save_png(path, lambda: _curves_figure(metrics))


def _curves_figure(metrics: Sequence[dict[str, Any]]) -> Figure:
    train = [record for record in metrics if record["kind"] == "train"]
    figure = Figure(figsize=(13, 3.8), dpi=_DPI)
    score = next((key for key in SCORE_TITLES if any(key in record for record in metrics)), None if train else "top1")
    loss_axes, *score_axes_if_any, lr_axes = figure.subplots(1, 3 if score else 2, gridspec_kw=_MARGINS)
    others = [record for record in metrics if record["kind"] != "train"]
    _draw_loss(loss_axes, train, [record for record in others if "loss" in record])
    for score_axes in score_axes_if_any:
        _draw_score(score_axes, train, [record for record in others if score in record], str(score))
    lr_axes.plot(*_columns(train, "lr"), color=_BLUE)
    lr_axes.set_title("Learning rate")
    lr_axes.set_ylim(bottom=0)
    for axes in (loss_axes, *score_axes_if_any, lr_axes):
        _style(axes)
    return figure


def _draw_loss(axes: Axes, train: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> None:
    _draw_noisy(axes, train, "loss", _BLUE, "train")
    if others:
        best = min(others, key=lambda record: record["loss"])
        label = f"val, least {best['loss']:.3f} at step {best['step']}"
        axes.plot(*_columns(others, "loss"), color=_ORANGE, marker="o", markersize=3.5, label=label)
    axes.set_title("Loss" if others else "Training loss")


def _draw_score(axes: Axes, train: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], score: str) -> None:
    if any(score in record for record in train):
        _draw_noisy(axes, train, score, _GREY, "train, augmented")
    kinds = dict.fromkeys(record["kind"] for record in others)
    for kind, colour in zip(kinds, (_ORANGE, _BLUE, "#2f8f5b"), strict=False):
        records = [record for record in others if record["kind"] == kind]
        best = max(records, key=lambda record: record[score])
        label = f"{kind}, best {best[score]:.2f} % at step {best['step']}"
        axes.plot(*_columns(records, score), color=colour, marker="o", markersize=3.5, label=label)
    axes.set_title(SCORE_TITLES[score])
    axes.set_ylim(0, 102)
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))


def _draw_noisy(axes: Axes, records: Sequence[dict[str, Any]], key: str, colour: str, name: str) -> None:
    """A faint line through every value and a strong one through the means of consecutive groups of them."""
    steps, values = _columns(records, key)
    group = len(values) // 60
    if group < 2:
        axes.plot(steps, values, color=colour, label=name)
        return
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    whole = len(values) // group * group
    means = [np.asarray(column[:whole]).reshape(-1, group).mean(axis=1) for column in (steps, values)]
    axes.plot(*means, color=colour, label=f"{name}, mean of {group} steps")


def _columns(records: Sequence[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    measured = [record for record in records if "skipped" not in record or key == "lr"]
    return [record["step"] for record in measured], [record[key] for record in measured]


def _style(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if not axes.lines:
        axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center", color=_GREY)
    elif axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
