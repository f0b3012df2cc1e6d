"""The picture of a sweep: accuracy against trained parameters, or against a setting that leaves their number as it is."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from videoadapt.runs.drawing import save_png
from videoadapt.sweeps.cell import short

_COLOURS = ("#1f5fa8", "#d9641e", "#2f8f5b", "#8b4fa3", "#8a8f98", "#b33a3a")
_OFFSETS = ((6, -11), (6, 5), (-6, 5), (-6, -11), (0, 10), (0, -16), (14, 14), (-14, 14), (14, -20), (-14, -20))
_MARKERS = "os^Dv"  # the next one when all colours are taken
_AS_MANY = 1.1  # numbers of parameters closer than by this factor would be one position on a logarithmic axis


@dataclass(frozen=True)
class Point:
    """One point: its settings (axis -> label), its trained parameters, and the top-1 (%) of each seed."""

    settings: Mapping[str, str]
    trained: int
    top1: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.mean(self.top1)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds (n - 1 in the denominator); 0 for one seed."""
        return statistics.stdev(self.top1) if len(self.top1) > 1 else 0.0


def plot(points: Sequence[Point], order: Mapping[str, Sequence[str]], path: Path) -> None:
    """Draw top-1 with its standard deviation over seeds as a PNG. `order` has the labels of every axis, in order.

    Against trained parameters, the first axis names the points, the others are colours, and a line joins the points that no
    other beats with fewer parameters. Where an axis has more settings than there are numbers of parameters, and does not
    change them (a factor, a number of frames), its settings are the horizontal axis, and all others are colours.
    """
    names = (f"{axis}{label}" for axis, labels in order.items() for label in labels)
    save_png(path, lambda: _figure(points, order), names)


def _figure(points: Sequence[Point], order: Mapping[str, Sequence[str]]) -> Figure:
    figure = Figure(figsize=(9.5, 6), dpi=150, layout="constrained")
    axes = figure.subplots()
    free = _free_axis(points)
    others = [axis for axis in order if axis != free] if free else [*order][1:]
    positions = {label: number for number, label in enumerate(order[free])} if free else {}
    series: dict[tuple[str, ...], list[Point]] = {}
    for point in points:
        series.setdefault(tuple(point.settings[axis] for axis in others), []).append(point)
    for number, (labels, members) in enumerate(series.items()):
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
        title = ", ".join(f"{short(axis)} {label}" for axis, label in zip(others, labels, strict=True))
        at = [positions[point.settings[free]] if free else point.trained for point in members]
        means = [point.mean for point in members]
        bars = [point.spread for point in members]
        axes.errorbar(at, means, bars, fmt=marker, ms=5, color=colour, elinewidth=1.2, capsize=3, label=title)
        found = list(zip(at, means, strict=True))
        line = _in_order(found, len(positions)) if free else _front(found)
        axes.plot(*zip(*line, strict=True), color=colour, alpha=0.35, linewidth=1.5, zorder=0)
    if free:
        axes.set_xticks(list(positions.values()), list(positions))
        axes.set_xlabel(short(free))
    else:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: _count(count)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("trained parameters")
    least, most = (choose(len(point.top1) for point in points) for choose in (min, max))
    seeds = f"{most}" if least == most else f"{least} to {most}"
    axes.set_ylabel("top-1 (%)" if most == 1 else f"top-1 (%), mean and standard deviation of {seeds} seeds")
    axes.margins(x=0.12, y=0.1)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if others:
        axes.legend(frameon=False, fontsize=9)
    if free:
        _keep_labels_apart(figure, axes)
    else:
        _name_points(figure, axes, [(point.settings[next(iter(order))], point) for point in points])
    return figure


def _free_axis(points: Sequence[Point]) -> str | None:
    """The axis with the most settings among those that change no number of parameters and have more settings than there are
    numbers.
    """
    numbers = 1 + sum(b > _AS_MANY * a for a, b in pairwise(sorted(point.trained for point in points)))
    best, most = None, numbers
    for axis in points[0].settings:
        alike: dict[tuple[str, ...], list[int]] = {}  # what differs in this axis only
        for point in points:
            rest = tuple(label for other, label in point.settings.items() if other != axis)
            alike.setdefault(rest, []).append(point.trained)
        changes = any(max(counts) > _AS_MANY * min(counts) for counts in alike.values())
        settings = len({point.settings[axis] for point in points})
        if not changes and settings > most:
            best, most = axis, settings
    return best


def _keep_labels_apart(figure: Figure, axes: Axes) -> None:
    """Write the labels below the axis aslant when they would touch."""
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    if any(left.x1 + 6 > right.x0 for left, right in pairwise(boxes)):
        for label in axes.get_xticklabels():
            label.set(rotation=25, ha="right", rotation_mode="anchor")


def _in_order(points: Sequence[tuple[int, float]], num_positions: int) -> list[tuple[int, float]]:
    """The points from left to right, nan at positions that have none: a line through them breaks there."""
    found = dict(points)
    return [(number, found.get(number, math.nan)) for number in range(num_positions)]


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


def _name_points(figure: Figure, axes: Axes, points: Sequence[tuple[str, Point]]) -> None:
    """Write each name beside its point, where it covers the fewest other names, points and bars."""
    figure.draw_without_rendering()
    taken = []
    for _, point in points:
        x, low = axes.transData.transform((point.trained, point.mean - point.spread))
        _, high = axes.transData.transform((point.trained, point.mean + point.spread))
        taken.append(Bbox.from_bounds(x - 8, low - 8, 16, high - low + 16))
    for name, point in points:
        x, y = point.trained, point.mean
        best: tuple[int, Bbox, tuple[int, int], str] | None = None
        for offset in _OFFSETS:
            side = "left" if offset[0] > 0 else "right" if offset[0] < 0 else "center"
            text = axes.annotate(name, (x, y), offset, textcoords="offset points", ha=side, fontsize=8.5)
            box = text.get_window_extent()
            text.remove()
            overlaps = sum(box.overlaps(other) for other in taken) + 5 * (
                not axes.bbox.padded(10).contains(box.x1, box.y1)
            )
            if best is None or overlaps < best[0]:
                best = overlaps, box, offset, side
        assert best is not None
        _, box, offset, side = best
        taken.append(box)
        label = axes.annotate(name, (x, y), offset, textcoords="offset points", ha=side, fontsize=8.5, color="#30343b")
        label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
