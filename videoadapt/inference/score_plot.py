"""How the scores of known and unknown videos lie, a histogram of each score."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from videoadapt.runs.drawing import save_png

_BLUE, _ORANGE = "#1f5fa8", "#d9641e"
_NAMES = {
    "msp": "Greatest probability (MSP)",
    "energy": "Energy: log sum exp of the logits",
    "mahalanobis": "Mahalanobis distance, negative",
    "knn": "Distance to the k-th neighbour, negative",
}
Scores = Mapping[str, NDArray[np.float64]]


def plot_scores(known: Scores, unknown: Scores, numbers: Mapping[str, Mapping[str, float | None]], path: Path) -> None:
    """Draw a panel for each score, with the threshold below which 5 % of the known videos are rejected, as a PNG."""
    save_png(path, lambda: _figure(known, unknown, numbers))


def _figure(known: Scores, unknown: Scores, numbers: Mapping[str, Mapping[str, float | None]]) -> Figure:
    figure = Figure(figsize=(4.2 * len(known), 3.6), dpi=150, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(known), squeeze=False)[0], known, strict=True):
        parts = {f"known ({len(known[name])})": (known[name], _BLUE)}
        if name in unknown:
            parts[f"unknown ({len(unknown[name])})"] = (unknown[name], _ORANGE)
        together = np.concatenate([of for of, _ in parts.values()])
        low = np.quantile(together, 0.01)  # a few far ones would leave the others one bar
        edges = np.linspace(low, together.max(), 31) if low < together.max() else np.array([low - 0.5, low + 0.5])
        for label, (of, colour) in parts.items():
            weights = np.full(len(of), 1 / len(of))
            axes.hist(np.maximum(of, low), edges.tolist(), weights=weights, color=colour, alpha=0.6, label=label)
        if (at := numbers[name]["threshold_5"]) is not None:
            axes.axvline(max(at, low), color="#24292f", linestyle="--", linewidth=1.2, label="5 % of known lie below")
        told = (
            ""
            if name not in unknown
            else "\nAUROC {:.1f} %, FPR95 {:.1f} %".format(
                *(100 * (numbers[name][key] or 0) for key in ("auroc", "fpr95"))
            )
        )
        axes.set_title(f"{_NAMES[name]}{told}", fontsize=10)
        axes.set_xlabel("score: higher is more like the known")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("share of the videos")
    return figure
