"""What a run looks like: curves.png, confusion.png, per_class.csv, reconstruction.png. Every percentage is 0-100.

Shapes: N videos, K classes; B clips, C channels, T frames, H W pixels.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from videoadapt.files import write_atomically
from videoadapt.runs.lettering import lettering, on_one_line

_DPI = 150
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d9641e", "#8a8f98"
_MARGINS = {
    "left": 0.06,
    "right": 0.985,
    "bottom": 0.15,
    "top": 0.9,
    "wspace": 0.25,
}  # of curves: enough for any numbers
_SHOWN_FRAMES = 8
_SCORES = {"top1": "Top-1 accuracy", "mAP": "Mean average precision"}
_LONGEST_NAME = 36
_MOST_NUMBERED_CELLS = 20  # above, the numbers in the cells are dropped
_MOST_NAMED_CLASSES = 200  # above, a name would be smaller than its row: indices every so often instead


def plot_curves(metrics: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw training loss, top-1 (%) and learning rate over the steps of `metrics` (records of metrics.jsonl) as a PNG.

    A record has `kind` and `step`; "train" records `loss`, `top1` and `lr`, all others ("val") `top1` and, of newer runs,
    `loss`. In place of `top1`, validations of several labels a video have `mAP`; without any that part is left out.
    """
    with lettering((), path):
        figure = _curves_figure(metrics)
        write_atomically(path, lambda partial: figure.savefig(partial, format="png"))


def _curves_figure(metrics: Sequence[dict[str, Any]]) -> Figure:
    train = [record for record in metrics if record["kind"] == "train"]
    figure = Figure(figsize=(13, 3.8), dpi=_DPI)
    FigureCanvasAgg(figure)
    score = next((key for key in _SCORES if any(key in record for record in metrics)), None if train else "top1")
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
    axes.set_title(_SCORES[score])
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


def plot_reconstructions(clips_BCTHW: Tensor, masked_BCTHW: Tensor, predicted_BCTHW: Tensor, path: Path) -> None:
    """Draw each clip as three rows of its frames, original, masked and predicted, as a PNG; values in [0, 1]."""
    with lettering((), path):
        figure = _reconstructions_figure(clips_BCTHW, masked_BCTHW, predicted_BCTHW)
        write_atomically(path, lambda partial: figure.savefig(partial, format="png", bbox_inches="tight"))


def _reconstructions_figure(clips_BCTHW: Tensor, masked_BCTHW: Tensor, predicted_BCTHW: Tensor) -> Figure:
    every = -(-clips_BCTHW.shape[2] // _SHOWN_FRAMES)
    shown_BRTHWC = torch.stack((clips_BCTHW, masked_BCTHW, predicted_BCTHW), dim=1)[:, :, :, ::every].movedim(2, -1)
    num_clips, _, num_frames, height, width, _ = shown_BRTHWC.shape
    edged = F.pad(shown_BRTHWC, (0, 0, 0, 2, 0, 2), value=1.0).flatten(0, 1)  # two white pixels around each frame
    figure = Figure(figsize=(1.3 * num_frames + 0.8, 1.3 * 3 * num_clips + 0.3), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(edged.transpose(1, 2).flatten(2, 3).flatten(0, 1).numpy(), interpolation="nearest")
    names = ["input", "masked", "predicted"] * num_clips
    axes.set_yticks([(row + 0.5) * (height + 2) for row in range(3 * num_clips)], names)
    axes.set_xticks(
        [(column + 0.5) * (width + 2) for column in range(num_frames)],
        [f"frame {every * column}" for column in range(num_frames)],
    )
    axes.tick_params(length=0, labelsize=8, labelbottom=False, labeltop=True)
    axes.spines[:].set_visible(False)
    return figure


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
    with lettering(class_names, path):
        save_cropped(_confusion_figure(labels_N, predicted_N, class_names), path)


def save_cropped(figure: Figure, path: Path) -> None:
    """Write a figure without a layout as a PNG of what is on it: what bbox_inches="tight" gives, without drawing it twice."""
    drawn = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).padded(mpl.rcParams["savefig.pad_inches"])
    write_atomically(path, lambda partial: figure.savefig(partial, format="png", bbox_inches=drawn))


def _confusion_figure(labels_N: np.ndarray, predicted_N: np.ndarray, class_names: Sequence[str]) -> Figure:
    num_classes = len(class_names)
    videos_K1 = np.bincount(labels_N, minlength=num_classes)[:, None]
    percent_KK = 100 * confusion_matrix(labels_N, predicted_N, num_classes) / np.maximum(videos_K1, 1)
    side_inch = float(np.clip(0.17 * num_classes + 3.5, 5, 20))
    figure = Figure(figsize=(side_inch, side_inch), dpi=_DPI)
    FigureCanvasAgg(figure)
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
    return f"top-1 {right:.2f} % of {len(labels_N)} videos" + (f" ({unreadable} unreadable)" if unreadable else "")


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


def shorten(name: str) -> str:
    """A name of at most _LONGEST_NAME letters."""
    half = _LONGEST_NAME // 2  # long names often differ only at the end: keep both ends
    return name if len(name) <= _LONGEST_NAME else f"{name[:half].rstrip()}…{name[-half:].lstrip()}"


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
