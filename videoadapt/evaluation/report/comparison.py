"""Runs side by side, tested on the same videos: scores, whether they differ by more than chance, which videos changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError, VideoAdaptError, counted
from videoadapt.evaluation.calibration import calibration
from videoadapt.evaluation.intervals import Interval
from videoadapt.evaluation.paired import Changes, changes, difference_interval, map_difference_interval
from videoadapt.evaluation.report.groups import groups_of
from videoadapt.evaluation.report.settings import differing_settings
from videoadapt.evaluation.report.summary import Score, scores
from videoadapt.evaluation.tested import Tested
from videoadapt.paths import exists
from videoadapt.runs.folder import run_config

MOST_LISTED = 100  # videos in each direction


class OneRun(NamedTuple):
    """A run among those compared."""

    name: str
    folder: Path
    config: Config
    tested: Tested
    scores: list[Score]

    @property
    def calibration_error(self) -> float | None:
        """ECE in percent; None of several labels."""
        if self.tested.is_multi:
            return None
        read_N = self.tested.readable_N
        error = calibration(self.tested.probs_NK[read_N].max(axis=1), self.tested.correct_N[read_N]).error
        return None if error is None else 100 * error

    @property
    def tested_otherwise(self) -> dict[str, Any]:
        """What its test did otherwise than its training's config says, by dotted keys."""
        return {key: of["tested"] for key, of in self.tested.results.get("other_than_trained", {}).items()}

    @property
    def report(self) -> Path | None:
        """Its page, where it has one."""
        path = self.folder / "report.html"
        return path if exists(path) else None


class Changed(NamedTuple):
    """A video that one of two runs has right: what it is, and what the first and the second call it."""

    video: str
    truth: str
    first: str
    second: str


class Against(NamedTuple):
    """A run against the first: the difference in points, and for one label a video what changed."""

    run: OneRun
    difference: float
    by_videos: Interval | None
    by_groups: Interval | None
    changes: Changes | None
    gained: list[Changed]
    lost: list[Changed]


class Comparison(NamedTuple):
    """All runs, each but the first against the first, and the settings in which they differ (key, value of each)."""

    runs: list[OneRun]
    against: list[Against]
    settings: list[tuple[str, list[str]]]
    num_groups: int | None
    same_files: bool


def compare(folders: Mapping[str, Path]) -> Comparison:
    """Compare the runs in these folders, by the names that they are to have.

    Raises ConfigError for fewer than two, and VideoAdaptError where one was not tested, or on another list than the first.
    """
    if len(folders) < 2:
        raise ConfigError("compare: needs two runs or more, in folders of their own")
    found = [(name, folder, Tested(folder)) for name, folder in folders.items()]
    for name, _, tested in found[1:]:
        _check_same_list(found[0][0], found[0][2], name, tested)
    configs = [run_config(folder) for _, folder, _ in found]
    groups = None if found[0][2].is_multi else groups_of(configs[0], found[0][2].ids.tolist())
    runs = [
        OneRun(name, folder, config, tested, scores(tested, groups))
        for (name, folder, tested), config in zip(found, configs, strict=True)
    ]
    for run in runs[1:]:
        if other := {score.key for score in runs[0].scores} ^ {score.key for score in run.scores}:
            raise VideoAdaptError(
                f"{run.name}: only one of this run and {runs[0].name} has {min(other)} in results.json; test both again"
            )
    files = {run.tested.results.get("test_files_sha256") for run in runs}
    return Comparison(
        runs,
        [_against(runs[0], run, groups) for run in runs[1:]],
        differing_settings(configs, [run.tested_otherwise for run in runs]),
        None if groups is None else len(set(groups)),
        len(files) == 1,
    )


def _check_same_list(first: str, there: Tested, name: str, tested: Tested) -> None:
    sums = [of.results["test_list_sha256"] for of in (there, tested)]
    if (
        sums[0] != sums[1]
        or there.ids.tolist() != tested.ids.tolist()
        or not np.array_equal(there.labels, tested.labels)
    ):
        raise VideoAdaptError(
            f"{name}: was tested on another list than {first} (test_list_sha256 {sums[1][:12]}, there {sums[0][:12]}; "
            f"{counted(len(tested.ids), 'video')}, there {len(there.ids)}): test both on the same data.test"
        )
    if there.class_names != tested.class_names:
        raise VideoAdaptError(f"{name}: has other class names than {first}, or in another order")


def _against(first: OneRun, run: OneRun, groups: Sequence[str] | None) -> Against:
    here, there = run.tested, first.tested
    difference = (here.score or 0.0) - (there.score or 0.0)
    if here.is_multi:
        interval = map_difference_interval(there.scores_NK, here.scores_NK, here.labels)
        return Against(run, difference, interval, None, None, [], [])
    right = there.correct_N, here.correct_N
    return Against(
        run,
        difference,
        difference_interval(*right, here.ids.tolist()),
        None if groups is None else difference_interval(*right, groups),
        changes(*right),
        _changed(there, here, ~right[0] & right[1]),
        _changed(there, here, right[0] & ~right[1]),
    )


def _changed(first: Tested, second: Tested, chosen_N: np.ndarray) -> list[Changed]:
    def called(tested: Tested, row: int) -> str:
        label = int(tested.predicted_N[row])
        return "unreadable" if label < 0 else f"{tested.class_names[label]} {100 * tested.probs_NK[row, label]:.0f} %"

    return [
        Changed(str(first.ids[row]), first.class_names[first.labels[row]], called(first, row), called(second, row))
        for row in np.flatnonzero(chosen_N).tolist()
    ]
