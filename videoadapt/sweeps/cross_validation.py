"""What the folds of a sweep say together: their mean, and how far another set of videos might be from it. Percentages 0-100.

Shapes: N tested videos, K classes.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoadapt.evaluation.intervals import Interval, accuracy_interval, t_interval
from videoadapt.evaluation.predictions import shown_measures
from videoadapt.evaluation.tested import Tested
from videoadapt.files import write_atomically, write_json, write_text
from videoadapt.sweeps.cell import Cell, short
from videoadapt.sweeps.fold_plot import plot_folds
from videoadapt.sweeps.folds import AXIS
from videoadapt.sweeps.plan import Sweep

EXPLAINED = """
Mean: of the folds' accuracies, each fold tested by a model that was trained without it{seeds}. Its interval is Student's t over
the folds, which takes them for independent: their training lists overlap, so it is narrower than it should be. Pooled: of all
tested videos at once; its interval is a bootstrap over {units}, which says how far other videos may be from these, and nothing
of other trainings.
"""


@dataclass(frozen=True)
class Fold:
    """One fold: what it is called, how many videos it tests, and its accuracies, means over the seeds."""

    name: str
    num_videos: int
    top1: float
    top5: float
    mean_class: float
    chosen: str | None  # the setting that was best on this fold's validation list


@dataclass(frozen=True)
class CrossValidation:
    """One row of the table: settings without the fold; 95 % intervals, None for one fold or one group."""

    settings: dict[str, str]
    trained_parameters: int
    num_folds: int  # wanted; there are len(folds) of them
    num_seeds: int
    folds: list[Fold]
    top1: float
    top1_t: Interval | None
    pooled_top1: float
    pooled_top1_bootstrap: Interval | None
    top5: float
    mean_class: float
    num_videos: int
    num_groups: int


def write_cross_validation(sweep: Sweep) -> list[Path]:
    """Write table.md, table.json, folds.png and out_of_fold.npz into the sweep's folder; nothing while no cell is finished."""
    rows, pieces, with_top5 = [], [], False
    for settings, cells in _by_settings(sweep):
        tested = [(cell, Tested(cell.folder)) for cell in cells if cell.finished]
        if tested:
            rows.append(_row(sweep, settings, cells, tested))
            with_top5 |= any("top5" in shown_measures(found.results, found.class_names) for _, found in tested)
            pieces += [_piece(sweep, settings, cell, found) for cell, found in tested]
    if not rows:
        return []
    paths = [sweep.folder / name for name in ("table.md", "table.json", "folds.png", "out_of_fold.npz")]
    write_text(paths[0], _markdown(sweep, rows, with_top5))
    write_json(paths[1], [asdict(row) for row in rows])
    plot_folds([(_name(row), [f.top1 for f in row.folds], row.top1, row.top1_t, row.pooled_top1, row.pooled_top1_bootstrap)
                for row in rows], _units(rows), paths[2])  # fmt: skip
    joined = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}

    def save(path: Any) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **joined)

    write_atomically(paths[3], save)
    return paths


def _by_settings(sweep: Sweep) -> list[tuple[dict[str, str], list[Cell]]]:
    """The cells of the table, together whose settings differ only in the fold, and in what was chosen for it."""
    select = sweep.config.select
    without = {AXIS, *([select.axis] if select else [])}
    found: dict[tuple[str, ...], tuple[dict[str, str], list[Cell]]] = {}
    for settings, cells in sweep.groups():
        kept = {axis: label for axis, label in settings.items() if axis not in without}
        found.setdefault(tuple(kept.values()), (kept, []))[1].extend(cells)
    return list(found.values())


def _groups(sweep: Sweep, ids: NDArray[np.str_]) -> list[str]:
    assert sweep.division is not None
    return [sweep.division.group_of.get(name, name) for name in ids.tolist()]


def _row(
    sweep: Sweep, settings: dict[str, str], cells: Sequence[Cell], tested: Sequence[tuple[Cell, Tested]]
) -> CrossValidation:
    select = sweep.config.select
    of_fold: dict[str, list[tuple[Cell, Tested]]] = {}
    for cell, found in tested:
        of_fold.setdefault(cell.settings[AXIS], []).append((cell, found))
    folds = [_fold(name, found, select.axis if select else None) for name, found in of_fold.items()]
    right_N = np.concatenate([np.mean([t.correct_N for _, t in found], axis=0) for found in of_fold.values()])
    groups = [group for found in of_fold.values() for group in _groups(sweep, found[0][1].ids)]
    results = tested[0][0].results
    assert results is not None
    return CrossValidation(
        settings=settings,
        trained_parameters=results["trained_parameters"],
        num_folds=len({cell.settings[AXIS] for cell in sweep.cells}),
        num_seeds=len(sweep.config.seeds),
        folds=folds,
        top1=statistics.mean(fold.top1 for fold in folds),
        top1_t=t_interval([fold.top1 for fold in folds]),
        pooled_top1=float(100 * right_N.mean()),
        pooled_top1_bootstrap=accuracy_interval(right_N, groups),
        top5=statistics.mean(fold.top5 for fold in folds),
        mean_class=statistics.mean(fold.mean_class for fold in folds),
        num_videos=len(right_N),
        num_groups=len(set(groups)),
    )


def _fold(name: str, tested: Sequence[tuple[Cell, Tested]], axis: str | None) -> Fold:
    results = [found for cell, _ in tested if (found := cell.results) is not None]
    means = {key: statistics.mean(result[key] for result in results) for key in ("top1", "top5", "mean_class")}
    return Fold(name, len(tested[0][1].ids), chosen=tested[0][0].settings[axis] if axis else None, **means)


def _piece(sweep: Sweep, settings: Mapping[str, str], cell: Cell, tested: Tested) -> dict[str, NDArray[Any]]:
    """A cell's part of out_of_fold.npz, each array (N, ...)."""
    num = len(tested.ids)
    return {
        "settings": np.full(num, ", ".join(f"{short(axis)} {label}" for axis, label in settings.items())),
        "fold": np.full(num, cell.settings[AXIS]),
        "seed": np.full(num, cell.seed),
        "video_id": tested.ids,
        "group": np.array(_groups(sweep, tested.ids)),
        "label": tested.labels,
        "scores": tested.scores_NK,
    }


def _name(row: CrossValidation) -> str:
    return ", ".join(row.settings.values()) or "all folds"


def _markdown(sweep: Sweep, rows: Sequence[CrossValidation], with_top5: bool) -> str:
    axes = list(rows[0].settings)
    names = list(dict.fromkeys(fold.name for row in rows for fold in row.folds))
    header = [
        *map(short, axes),
        "trained parameters",
        "top-1 (%), mean [95 %]",
        "pooled [95 %]",
        *(["top-5 (%)"] if with_top5 else []),
        "mean class (%)",
    ]
    header += ["videos", "groups", "folds", *(f"fold {name}" for name in names)]
    lines = [header, ["---"] * len(axes) + ["---:"] * (len(header) - len(axes))]
    for row in rows:
        of = {fold.name: fold for fold in row.folds}
        done = len(row.folds) if len(row.folds) == row.num_folds else f"{len(row.folds)} of {row.num_folds}"
        lines.append([
            *row.settings.values(), f"{row.trained_parameters:,}", _with_interval(row.top1, row.top1_t),
            _with_interval(row.pooled_top1, row.pooled_top1_bootstrap),
            *([f"{row.top5:.2f}"] if with_top5 else []), f"{row.mean_class:.2f}",
            f"{row.num_videos:,}", f"{row.num_groups:,}", str(done), *(_shown(of.get(name)) for name in names),
        ])  # fmt: skip
    text = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
    seeds = f", and by {rows[0].num_seeds} seeds" if rows[0].num_seeds > 1 else ""
    return text + EXPLAINED.format(seeds=seeds, units=_units(rows))


def _units(rows: Sequence[CrossValidation]) -> str:
    """What the pooled interval draws."""
    return "groups" if rows[0].num_groups < rows[0].num_videos else "videos"


def _with_interval(value: float, interval: Interval | None) -> str:
    return f"{value:.2f}" if interval is None else f"{value:.2f} [{interval[0]:.1f}, {interval[1]:.1f}]"


def _shown(fold: Fold | None) -> str:
    """A fold's top-1, and what was chosen for it."""
    if fold is None:
        return ""
    return f"{fold.top1:.2f}" + (f" ({fold.chosen})" if fold.chosen is not None else "")
