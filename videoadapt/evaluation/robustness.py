"""The test once more, on corrupted videos: robustness.json and robustness.png in a run's folder.

Shapes: S settings (a kind at a strength), N videos.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np

from videoadapt import distributed, logger
from videoadapt.data.corrupted import CorruptedLoader
from videoadapt.data.structures import Unreadable, VideoViews
from videoadapt.errors import counted
from videoadapt.evaluation.intervals import Interval, accuracy_interval
from videoadapt.evaluation.judged import load_judged
from videoadapt.evaluation.of_labels import OF_LABELS
from videoadapt.evaluation.verdicts import Verdicts
from videoadapt.evaluation.views import evaluate
from videoadapt.files import write_json
from videoadapt.log import progress
from videoadapt.runs.build_data import build_corrupted_loader
from videoadapt.runs.records import read_record
from videoadapt.runs.run import Run
from videoadapt.runs.shapes import Robustness
from videoadapt.video.corruptions import KINDS
from videoadapt.video.corruptions.views import Setting, settings_of

FILE_NAME, PICTURE = "robustness.json", "robustness.png"
STRENGTHS = (1, 2, 3, 4, 5)


def test_robustness(run: Run, kinds: Sequence[str], strengths: Sequence[int] = STRENGTHS) -> dict[str, Any]:
    """Test the run's best (else newest) checkpoint on `data.test` under each kind at each strength, and as it is.

    Returns the content of robustness.json; scores are in percent. What is drawn depends on (`seed`, video, kind, strength).
    Raises as `load_judged` does, and NotFinite when a logit is not finite.
    """
    config, videos = run.config, run.splits.test
    judged = load_judged(run)
    start, settings = time.perf_counter(), settings_of(kinds, strengths)
    clips, crops = config.test.clips, config.test.crops
    num_classes, average = len(run.splits.class_names), config.test.average
    verdicts = Verdicts(videos, len(settings), clips, crops, num_classes, average, config.data.labels)
    loader = build_corrupted_loader(videos, config.data, clips, crops, settings, config.seed, run.device)
    run.model.eval()
    with run.testing_forward() as forward:
        evaluate(forward, _one_by_one(loader, len(videos), len(settings)), verdicts, config.test.batch_size)
    results = {
        "measure": OF_LABELS[config.data.labels].best_by,
        **_scores(verdicts, settings),
        "num_videos": len(videos),
        "num_views": clips * crops,
        "seed": config.seed,
        **judged.as_dict(run),
        "test_list_sha256": run.splits.fingerprint(videos),
        "test_files_sha256": run.splits.files_fingerprint(videos),
        "versions": {"av": av.__version__, "numpy": np.__version__},  # x264 comes with the one, draws with the other
    }
    if distributed.is_main():
        _write(run.folder, results)
        took = time.perf_counter() - start
        logger.info(
            "tested %s on %s x %s in %.1f s",
            judged.source,
            counted(len(videos), "video"),
            counted(len(settings), "setting"),
            took,
        )
    return results


def read_robustness(folder: Path) -> dict[str, Any] | None:
    """What the last such test left in a run's folder; None without one. Raises VideoAdaptError for a damaged file."""
    return read_record(folder / FILE_NAME, Robustness, "delete it, and run `videoadapt robustness` again")


def scores_by_kind(results: dict[str, Any]) -> dict[str, float | None]:
    """Of robustness.json's content the scores in percent that a logger shows: clean, the means, the relative drop."""
    of_kinds = {kind: of["mean"] for table in ("corruptions", "sensitivity") for kind, of in results[table].items()}
    mean = results["mean"]
    return {
        "clean": results["clean"]["score"],
        "mean": mean["score"],
        "relative_drop": mean["relative_drop"],
        **of_kinds,
    }


def _one_by_one(loader: CorruptedLoader, num_videos: int, num_settings: int) -> Iterator[VideoViews | Unreadable]:
    total = sum(1 for _ in range(distributed.rank(), num_videos, distributed.world_size())) * num_settings
    with progress("robustness", total, "corrupted videos") as line:
        for items in loader:
            yield from items
            line.advance(count=len(items))


def _scores(verdicts: Verdicts, settings: Sequence[Setting]) -> dict[str, Any]:
    """Of the film as it is, of each kind and strength, and the mean over kinds that keep the label."""
    found: dict[str, Any] = {"clean": _score(verdicts, 0)}
    clean = found["clean"]["score"]
    tables: dict[bool, dict[str, Any]] = {True: {}, False: {}}
    places = enumerate(settings[1:], start=1)
    for kind, group in groupby(places, key=lambda place: place[1].kind):
        strengths = {
            str(setting.strength): {"level": KINDS[kind].levels[setting.strength - 1], **_score(verdicts, place)}
            for place, setting in group
        }
        mean = _mean([of["score"] for of in strengths.values()])
        tables[KINDS[kind].keeps_label][kind] = {
            "strengths": strengths, "mean": mean, "relative_drop": _relative_drop(clean, mean)
        }  # fmt: skip
    mean = _mean([of["mean"] for of in tables[True].values()])
    return {
        **found,
        "mean": {
            "score": mean,
            "interval": _mean_interval(verdicts, settings),
            "relative_drop": _relative_drop(clean, mean),
        },
        "corruptions": tables[True],
        "sensitivity": tables[False],
    }


def _score(verdicts: Verdicts, setting: int) -> dict[str, Any]:
    """The score under a setting, its 95 % interval over videos, and how many could not be read."""
    return {
        "score": verdicts.score(setting),
        "interval": verdicts.interval(setting),
        "num_unreadable": int((~verdicts.readable_SN[setting]).sum()),
    }


def _mean_interval(verdicts: Verdicts, settings: Sequence[Setting]) -> Interval | None:
    """Over videos, each with its own mean over strengths and kinds; None of several labels a video."""
    kinds = [
        setting.kind if KINDS.get(setting.kind) and KINDS[setting.kind].keeps_label else "" for setting in settings
    ]
    right_SN = verdicts.kept
    if right_SN.ndim == 3 or not any(kinds):
        return None
    of_kind = [right_SN[[kind == one for kind in kinds]].mean(axis=0) for one in dict.fromkeys(filter(None, kinds))]
    return accuracy_interval(np.mean(of_kind, axis=0), [str(row) for row in range(right_SN.shape[1])])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def _relative_drop(clean: float | None, mean: float | None) -> float | None:
    """What share of the clean score is lost, in percent; negative where it rose."""
    return None if not clean or mean is None else round(100 * (clean - mean) / clean, 4)


def _write(folder: Path, results: dict[str, Any]) -> None:
    from videoadapt.runs.robustness_picture import plot_robustness  # matplotlib is slow to import

    write_json(folder / FILE_NAME, results)
    plot_robustness(results, folder / PICTURE)
