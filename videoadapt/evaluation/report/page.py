"""report.html of a run: what is in its folder, on one page that opens from disk and asks no network for anything."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from videoadapt.config.loading import dump_config
from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError
from videoadapt.evaluation.calibration import calibration
from videoadapt.evaluation.report._templates import render
from videoadapt.evaluation.report.charts import curves, reliability
from videoadapt.evaluation.report.costs import read_costs
from videoadapt.evaluation.report.groups import groups_of
from videoadapt.evaluation.report.lists import list_rows
from videoadapt.evaluation.report.matrix import matrix
from videoadapt.evaluation.report.mistakes import confident_mistakes
from videoadapt.evaluation.report.robustness import robustness_of
from videoadapt.evaluation.report.settings import changed_settings
from videoadapt.evaluation.report.summary import classes, scores, views
from videoadapt.evaluation.robustness import read_robustness
from videoadapt.evaluation.tested import Tested
from videoadapt.files import write_text
from videoadapt.paths import exists
from videoadapt.runs.checkpoint import read_facts
from videoadapt.runs.confusion import confusion_matrix
from videoadapt.runs.folder import newest_checkpoint, run_config
from videoadapt.runs.metrics import read_metrics
from videoadapt.runs.outcome import read_outcome

FILE_NAME = "report.html"


def write_report(folder: Path, config: Config | None = None) -> Path:
    """Make report.html of the run in a folder; `config`: what it was tested with, where that is not its config.yaml.

    Raises VideoAdaptError where the folder holds no run, or what it holds is damaged.
    """
    trained = run_config(folder)
    tested = Tested(folder) if exists(folder / "results.json") else None
    metrics = read_metrics(folder)
    values: dict[str, Any] = {
        "name": folder.resolve().name,
        "folder": str(folder),
        "outcome": read_outcome(folder),
        "changed": changed_settings(trained),
        "config": dump_config(trained),
        "lists": _lists(folder),
        "charts": curves(metrics),
        "costs": read_costs(folder, trained, None if tested is None else len(tested.ids)),
        "tested": tested,
        "robustness": robustness_of(read_robustness(folder), None if tested is None else tested.results),
        "test": {"matrix": None} if tested is None else _of_test(tested, config or trained),
        "test_lists": [] if tested is None else list_rows(folder, tested),
    }
    write_text(folder / FILE_NAME, render("report.html", **values))
    return folder / FILE_NAME


def _of_test(tested: Tested, config: Config) -> dict[str, Any]:
    groups = groups_of(config, tested.ids.tolist())
    found: dict[str, Any] = {
        "scores": scores(tested, groups),
        "num_groups": None if groups is None or tested.is_multi else len(set(groups)),
        "views": views(tested),
        "classes": classes(tested),
        "mistakes": confident_mistakes(tested, config.data),
        "matrix": None,
        "reliability": None,
    }
    if not tested.is_multi:
        read_N = tested.readable_N
        videos_K = np.bincount(tested.labels, minlength=len(tested.class_names))
        counts_KK = confusion_matrix(tested.labels, tested.predicted_N, len(tested.class_names))
        found["matrix"] = matrix(counts_KK, videos_K, tested.class_names)
        calibrated = calibration(tested.probs_NK[read_N].max(axis=1), tested.correct_N[read_N])
        found["calibration"] = calibrated
        found["reliability"] = reliability(calibrated) if read_N.any() else None
    return found


def _lists(folder: Path) -> dict[str, str]:
    """Fingerprints of the training and validation lists, as the checkpoint has them."""
    path = newest_checkpoint(folder)
    if path is not None:
        with suppress(CheckpointError):  # a damaged one says nothing of lists
            return dict(read_facts(path).get("config", {}).get("lists", {}))
    return {}
