"""A row for each list that a test was on, with what probabilities are worth there, before and after a temperature."""

from pathlib import Path
from typing import Any, NamedTuple

from videoadapt.evaluation.report.summary import Score, scores
from videoadapt.evaluation.tested import Tested


class Row(NamedTuple):
    """A list; `confidence` is {"before": ..., "after": ...} of results.json, None of several labels a video."""

    name: str
    videos: int
    score: Score
    confidence: dict[str, Any] | None
    results: dict[str, Any]


def list_rows(folder: Path, own: Tested) -> list[Row]:
    """The run's own list first; [] of a test without other lists, groups or a temperature, and of one of before."""
    others = {name: Tested(folder, name) for name in own.results.get("lists", {})}
    if not others and not {"calibration", "groups"} & own.results.keys():
        return []
    return [_row(name, of) for name, of in {own.results.get("list", "data.test"): own, **others}.items()]


def _row(name: str, of: Tested) -> Row:
    return Row(name, len(of.ids), scores(of, None)[0], of.results.get("confidence"), of.results)
