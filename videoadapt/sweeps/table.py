"""What a sweep found: table.md, table.csv, pareto.png and compare.html, from what its cells left. Percentages are 0-100."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videoadapt import logger
from videoadapt.errors import VideoAdaptError
from videoadapt.evaluation.predictions import shown_measures
from videoadapt.evaluation.report.side_by_side import write_comparison
from videoadapt.files import write_text
from videoadapt.paths import is_file
from videoadapt.sweeps.cell import short
from videoadapt.sweeps.cross_validation import write_cross_validation
from videoadapt.sweeps.plan import Sweep
from videoadapt.sweeps.plot import Point, plot
from videoadapt.sweeps.schema import texts


@dataclass(frozen=True)
class Row:
    """One line of the table: the settings, the chosen one among them, and the numbers of all seeds that are finished."""

    settings: Mapping[str, str]
    trained: int
    num_seeds: int  # wanted; there are len(top1) of them
    top1: tuple[float, ...]
    top5: tuple[float, ...]
    mean_class: tuple[float, ...]
    shows_top5: bool = True  # False of five classes and fewer
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
            shows_top5 = any("top5" in shown_measures(result) for result, _ in found)
            rows.append(Row(settings, trained, len(cells), top1, top5, mean_class, shows_top5, clips, sec))
    return rows


def write_tables(sweep: Sweep) -> list[Path]:
    """Write table.md, table.csv, pareto.png and compare.html into the sweep's folder, or what folds have.

    Nothing without finished cells.
    """
    if sweep.division is not None:
        return write_cross_validation(sweep)
    rows = collect(sweep)
    if not rows:
        return []
    select = sweep.config.select
    chosen = select.axis if select else None
    paths = [sweep.folder / name for name in ("table.md", "table.csv", "pareto.png")]
    written = (_markdown(rows, chosen) + _choices(sweep) + _at_the_end(sweep, rows), _csv(rows))
    for path, text in zip(paths, written, strict=False):
        write_text(path, text)
    shown = [axis for axis in rows[0].settings if axis != chosen] or list(rows[0].settings)
    points = [Point({axis: row.settings[axis] for axis in shown}, row.trained, row.top1) for row in rows]
    plot(points, {axis: list(sweep.axes[axis]) for axis in shown}, paths[2])
    return [*paths, *_side_by_side(sweep)]


def _side_by_side(sweep: Sweep) -> list[Path]:
    """Write compare.html: of each row the first finished seed, against the first row; nothing where lists differ."""
    of_rows = [[cell for cell in cells if is_file(cell.folder / "predictions.npz")] for _, cells in sweep.groups()]
    cells = [found[0] for found in of_rows if found and found[0].finished]
    if len(cells) < 2:
        return []
    path = sweep.folder / "compare.html"
    try:
        write_comparison({cell.name: cell.folder for cell in cells}, path)
    except VideoAdaptError as error:  # an axis of other test lists; the table is there
        logger.warning("%s: not written: %s", path, error)
        return []
    return [path]


def _markdown(rows: Sequence[Row], chosen: str | None) -> str:
    axes = [axis for axis in rows[0].settings if axis != chosen]
    with_top5 = any(row.shows_top5 for row in rows)
    header = [
        *(short(axis) for axis in axes),
        "trained parameters",
        "top-1 (%)",
        *(["top-5 (%)"] if with_top5 else []),
        "mean class (%)",
        "training clips",
        "training (s)",
        "seeds",
    ]
    header += [f"{short(chosen)} (chosen on val)"] if chosen else []
    lines = []
    for row in rows:
        cells = [row.settings[axis] for axis in axes]
        top5 = [row.top5] if with_top5 else []
        cells += [f"{row.trained:,}", *(_spread(values) for values in (row.top1, *top5, row.mean_class))]
        cells += [f"{row.num_clips:,.0f}", f"{row.train_sec:,.0f}"]
        cells.append(str(len(row.top1)) if len(row.top1) == row.num_seeds else f"{len(row.top1)} of {row.num_seeds}")
        lines.append(cells + ([row.settings[chosen]] if chosen else []))
    return _table(header, lines, len(axes))


def _table(header: Sequence[str], lines: Sequence[Sequence[str]], num_names: int) -> str:
    """A table in Markdown; all but the first columns are numbers."""
    rule = ["---"] * num_names + ["---:"] * (len(header) - num_names)
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in (header, rule, *lines))
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def _choices(sweep: Sweep) -> str:
    """What every choice was made by: top-1 on the validation list at each setting that was tried."""
    select = sweep.config.select
    if select is None:
        return ""
    others = [axis for axis in sweep.axes if axis != select.axis]
    scores_of: dict[tuple[str, ...], dict[str, float]] = {}
    for cell in sweep.cells:
        names = tuple({**cell.settings, **texts(select.within)}[axis] for axis in others)
        if names not in scores_of:
            scores_of[names] = sweep.validations(cell.settings)
    tried = [label for label in sweep.axes[select.axis] if any(label in scores for scores in scores_of.values())]
    lines = []
    for names, scores in scores_of.items():
        best = max(scores.values(), default=0)
        shown = {label: "-" if score < 0 else f"{score:.1f}" for label, score in scores.items()}
        shown |= {label: f"**{shown[label]}**" for label, score in scores.items() if score == best >= 0}
        lines.append([*names, *(shown.get(label, "") for label in tried)])
    seeds = f", mean of {len(select.seeds)} seeds" if len(select.seeds) > 1 else ""
    return (
        f"\nTop-1 on the validation list (%{seeds}) at each {select.axis} that was tried. Bold: the best, of equals the first "
        "is taken. -: not finite.\n\n" + _table([*map(short, others), *tried], lines, len(others))
    )


def _at_the_end(sweep: Sweep, rows: Sequence[Row]) -> str:
    """A warning that names the rows whose choice is the smallest or the largest of the numbers that were tried for it."""
    if sweep.config.select is None:
        return ""
    chosen, names = sweep.config.select.axis, []
    for row in rows:
        try:
            tried = {float(cell.settings[chosen]) for cell in sweep.candidates(row.settings)}
        except ValueError:
            return ""
        if len(tried) > 1 and float(row.settings[chosen]) in (min(tried), max(tried)):
            names.append(" ".join(label for axis, label in row.settings.items() if axis != chosen) or "the only row")
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
