"""The table of a page on corrupted videos: a kind a row, in the shades of what is left of the clean score."""

from typing import Any, NamedTuple

STRENGTHS = ("1", "2", "3", "4", "5")


class Cell(NamedTuple):
    """A score in percent with its 95 % interval, and which share of the clean one it is, from 0 to 1."""

    score: float | None
    interval: list[float] | None
    share: float


class Row(NamedTuple):
    """A kind: its cells by strength, None where there is none, their mean, and the relative drop in percent."""

    kind: str
    cells: list[Cell | None]
    mean: float | None
    relative_drop: float | None


class Robustness(NamedTuple):
    """The content of robustness.json, and its two tables; `fits`: whether it is of the test that the page shows."""

    found: dict[str, Any]
    corruptions: list[Row]
    sensitivity: list[Row]
    fits: bool


def robustness_of(found: dict[str, Any] | None, results: dict[str, Any] | None) -> Robustness | None:
    """What the page shows of robustness.json, beside results.json; None where there is no such test."""
    if found is None:
        return None
    keys = ["checkpoint", "test_list_sha256", "test_files_sha256", "statement"]
    if results is not None and {"checkpoint_step"} <= results.keys() & found.keys():  # not of before
        keys.append("checkpoint_step")  # best.pt keeps its name when a longer training finds a better one
    fits = results is None or all(results.get(key) == found.get(key) for key in keys)
    clean = found["clean"]["score"]
    corruptions, sensitivity = (
        [_row(kind, of, clean) for kind, of in found[table].items()] for table in ("corruptions", "sensitivity")
    )
    return Robustness(found, corruptions, sensitivity, fits)


def _row(kind: str, of: dict[str, Any], clean: float | None) -> Row:
    cells = [None if at is None else _cell(at, clean) for at in map(of["strengths"].get, STRENGTHS)]
    return Row(kind.replace("_", " "), cells, of["mean"], of["relative_drop"])


def _cell(at: dict[str, Any], clean: float | None) -> Cell:
    share = at["score"] / clean if clean and at["score"] is not None else 0.0
    return Cell(at["score"], at["interval"], min(1.0, share))
