"""What pre-training changes, as one picture of the tables in docs/benchmarks.md and docs/image_models.md.

`python -m benchmarks.pretraining_picture docs/pretraining.csv docs/pretraining.png`
"""

import argparse
import csv
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

CHANCE = 100 / 16
COLOURS = {
    "linear probing": "#8a8f98",
    "AdaptFormer-64": "#1f5fa8",
    "full": "#d9641e",
    "ST-Adapter, 64 wide": "#2f8f5b",
}
WIDTH = 0.2  # of a bar, where groups are 1 apart


def main() -> None:
    """Draw rows of backbone, pre-training, method, top1 (%) and its standard deviation over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, metavar="TABLE")
    parser.add_argument("picture", type=Path, metavar="PICTURE")
    args = parser.parse_args()
    with args.table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    groups = {
        name: list(dict.fromkeys(r["pre-training"] for r in rows if r["backbone"] == name)) for name in names(rows)
    }
    figure = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(groups), sharey=True, width_ratios=[len(group) for group in groups.values()])
    for panel, (backbone, group) in zip(panels, groups.items(), strict=True):
        draw(panel, [row for row in rows if row["backbone"] == backbone], group)
        panel.set_title(backbone, fontsize=10)
    panels[0].set_ylabel("top-1 (%), 16 motions")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(COLOURS) + 1, frameon=False
    )
    figure.savefig(args.picture)


def names(rows: list[dict[str, str]]) -> list[str]:
    """The backbones, in the order of the table."""
    return list(dict.fromkeys(row["backbone"] for row in rows))


def draw(panel: Axes, rows: list[dict[str, str]], group: list[str]) -> None:
    """A group of bars for each kind of pre-training, in the methods' order; those that were not measured are left out."""
    panel.axhline(CHANCE, color="black", linewidth=0.8, linestyle=":", label="chance")
    for method, colour in COLOURS.items():
        found = [row for row in rows if row["method"] == method]
        places = []
        for row in found:
            beside = [
                name
                for name in COLOURS
                if any(r["method"] == name and r["pre-training"] == row["pre-training"] for r in rows)
            ]
            places.append(group.index(row["pre-training"]) + WIDTH * (beside.index(method) - (len(beside) - 1) / 2))
        top1 = [float(row["top1"]) for row in found]
        bars = panel.bar(
            places, top1, WIDTH, yerr=[float(row["spread"]) for row in found], color=colour, label=method, capsize=2
        )
        panel.bar_label(bars, [f"{value:.1f}" for value in top1], fontsize=8, padding=2)
    panel.set_xticks(range(len(group)), group)
    panel.set_ylim(0, 108)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
