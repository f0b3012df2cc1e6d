"""What a sweep found: table.md, table.csv and pareto.png, from the results.json of its cells. Percentages are 0-100."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from videoadapt.atomic import write_atomically
from videoadapt.sweep_cell import short
from videoadapt.sweep_plan import Sweep

_COLOURS = ("#1f5fa8", "#d9641e", "#2f8f5b", "#8b4fa3", "#8a8f98", "#b33a3a")
_OFFSETS = ((6, -11), (6, 5), (-6, 5), (-6, -11), (0, 10), (0, -16), (14, 14), (-14, 14), (14, -20), (-14, -20))


@dataclass(frozen=True)
class Row:
    """One line of the table: the settings, the chosen one among them, and the numbers of all seeds that are finished."""

    settings: Mapping[str, str]
    trained: int
    num_seeds: int  # wanted; there are len(top1) of them
    top1: tuple[float, ...]
    top5: tuple[float, ...]
    mean_class: tuple[float, ...]
    num_clips: float = 0.0  # that one training took in, mean over the seeds
    train_sec: float = 0.0  # what its updates took, likewise


def collect(sweep: Sweep) -> list[Row]:
    """Return the rows of which at least one seed is finished, in the order of the sweep."""
    rows = []
    for settings, cells in sweep.groups():
        finished = [(cell.results, cell.cost) for cell in cells if cell.finished]
        found = [(result, cost) for result, cost in finished if result is not None]
        if found:
            top1, top5, mean_class = (tuple(r[key] for r, _ in found) for key in ("top1", "top5", "mean_class"))
            costs = [cost for _, cost in found if cost[0]] or [(0, 0.0)]
            clips, sec = (statistics.mean(values) for values in zip(*costs, strict=True))
            trained = found[0][0]["trained_parameters"]
            rows.append(Row(settings, trained, len(cells), top1, top5, mean_class, clips, sec))
    return rows


def write_tables(sweep: Sweep) -> list[Path]:
    """Write table.md, table.csv and pareto.png into the sweep's folder; nothing while no cell is finished."""
    rows = collect(sweep)
    if not rows:
        return []
    select = sweep.config.select
    chosen = select.axis if select else None
    paths = [sweep.folder / name for name in ("table.md", "table.csv", "pareto.png")]
    texts = (_markdown(rows, chosen) + _at_the_end(rows, chosen, list(sweep.axes.get(chosen or "", ()))), _csv(rows))
    for path, text in zip(paths, texts, strict=False):
        write_atomically(path, lambda partial, text=text: partial.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    plot_pareto(rows, chosen, paths[2])
    return paths


def _markdown(rows: Sequence[Row], chosen: str | None) -> str:
    axes = [axis for axis in rows[0].settings if axis != chosen]
    header = [
        *(short(axis) for axis in axes),
        "trained parameters",
        "top-1 (%)",
        "top-5 (%)",
        "mean class (%)",
        "training clips",
        "training (s)",
        "seeds",
    ]
    header += [f"{short(chosen)} (chosen on val)"] if chosen else []
    lines = [header, ["---"] * len(axes) + ["---:"] * (len(header) - len(axes))]
    for row in rows:
        cells = [row.settings[axis] for axis in axes]
        cells += [f"{row.trained:,}", *(_spread(values) for values in (row.top1, row.top5, row.mean_class))]
        cells += [f"{row.num_clips:,.0f}", f"{row.train_sec:,.0f}"]
        cells.append(str(len(row.top1)) if len(row.top1) == row.num_seeds else f"{len(row.top1)} of {row.num_seeds}")
        lines.append(cells + ([row.settings[chosen]] if chosen else []))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _at_the_end(rows: Sequence[Row], chosen: str | None, labels: Sequence[str]) -> str:
    """A warning that names the rows whose choice is the smallest or the largest number of its axis."""
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return ""
    if chosen is None or len(numbers) < 2:
        return ""
    ends = min(numbers.values()), max(numbers.values())
    names = [
        " ".join(label for axis, label in row.settings.items() if axis != chosen) or "the only row"
        for row in rows
        if numbers[row.settings[chosen]] in ends
    ]
    return f"\nChosen at an end of {chosen}, beyond which a better one may lie: {', '.join(names)}.\n" if names else ""


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def _csv(rows: Sequence[Row]) -> str:
    """Means, standard deviations over seeds (n - 1 in the denominator; empty for one seed) and every single top-1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [f"{name}_{what}" for name in ("top1", "top5", "mean_class") for what in ("mean", "std")]
    writer.writerow(
        [
            *rows[0].settings,
            "trained_parameters",
            "num_seeds",
            "num_finished",
            *numbers,
            "num_clips",
            "train_sec",
            "top1_of_each_seed",
        ]
    )
    for row in rows:
        cells: list[str | int] = [*row.settings.values(), row.trained, row.num_seeds, len(row.top1)]
        for values in (row.top1, row.top5, row.mean_class):
            cells += [f"{statistics.mean(values):.4f}", f"{statistics.stdev(values):.4f}" if len(values) > 1 else ""]
        cells += [f"{row.num_clips:.0f}", f"{row.train_sec:.1f}"]
        writer.writerow([*cells, " ".join(f"{value:.4f}" for value in row.top1)])
    return text.getvalue()


def plot_pareto(rows: Sequence[Row], chosen: str | None, path: Path) -> None:
    """Draw top-1 against trained parameters as a PNG: the first axis names the points, the others are colours.

    Bars are standard deviations over seeds; the line joins the points that no other beats with fewer parameters.
    """
    figure = Figure(figsize=(9.5, 6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names, *others = [axis for axis in rows[0].settings if axis != chosen] or [chosen or ""]
    series: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        series.setdefault(tuple(row.settings[axis] for axis in others), []).append(row)
    for number, (labels, members) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        title = ", ".join(f"{short(axis)} {label}" for axis, label in zip(others, labels, strict=True))
        means = [statistics.mean(row.top1) for row in members]
        bars = [statistics.stdev(row.top1) if len(row.top1) > 1 else 0.0 for row in members]
        counts = [row.trained for row in members]
        axes.errorbar(counts, means, bars, fmt="o", ms=5, color=colour, elinewidth=1.2, capsize=3, label=title)
        front = _front(list(zip(counts, means, strict=True)))
        axes.plot(*zip(*front, strict=True), color=colour, alpha=0.35, linewidth=1.5, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: _count(count)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("trained parameters")
    least, most = (choose(len(row.top1) for row in rows) for choose in (min, max))
    seeds = f"{most}" if least == most else f"{least} to {most}"
    axes.set_ylabel("top-1 (%)" if most == 1 else f"top-1 (%), mean and standard deviation of {seeds} seeds")
    axes.margins(x=0.12, y=0.1)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if others:
        axes.legend(frameon=False, fontsize=9)
    _name_points(figure, axes, [(row.settings[names], row.trained, statistics.mean(row.top1)) for row in rows])
    write_atomically(path, lambda partial: figure.savefig(partial, format="png"))


def _front(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The points with more accuracy than all with as few parameters, from left to right."""
    front: list[tuple[int, float]] = []
    for count, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((count, value))
    return front


def _count(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g} {letter}"
    return f"{number:g}"


def _name_points(figure: Figure, axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write each name beside its point, where it covers the fewest other names and points."""
    figure.draw_without_rendering()
    dots = [axes.transData.transform((x, y)) for _, x, y in points]
    taken = [Bbox.from_bounds(x - 8, y - 8, 16, 16) for x, y in dots]
    for name, x, y in points:
        best: tuple[int, Bbox, tuple[int, int]] | None = None
        for offset in _OFFSETS:
            side = "left" if offset[0] > 0 else "right" if offset[0] < 0 else "center"
            text = axes.annotate(name, (x, y), offset, textcoords="offset points", ha=side, fontsize=8.5)
            box = text.get_window_extent()
            text.remove()
            overlaps = sum(box.overlaps(other) for other in taken) + 5 * (
                not axes.bbox.padded(10).contains(box.x1, box.y1)
            )
            if best is None or overlaps < best[0]:
                best = overlaps, box, offset
        assert best is not None
        taken.append(best[1])
        offset = best[2]
        side = "left" if offset[0] > 0 else "right" if offset[0] < 0 else "center"
        label = axes.annotate(name, (x, y), offset, textcoords="offset points", ha=side, fontsize=8.5, color="#30343b")
        label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
