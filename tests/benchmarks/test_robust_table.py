"""The table of robustness: a whole one at toy size, and its words and numbers from made-up trainings."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import robust_measures, robust_table
from benchmarks.robust_page import COLUMNS, findings, grouped, mean_and_spread, table
from videoadapt.evaluation.attacks import Attack

SMALL = {
    "seeds": "0", "epochs": "2", "kinds": "gaussian_noise", "recipes": "plain", "train-per-class": "4", "test-per-class": "2",
    "attack-per-class": "1", "processes": "0", "cut-processes": "0", "device": "cpu",
}  # fmt: skip
METHODS = ["--methods", "adaptformer-64", "full"]


@pytest.mark.slow
def test_a_whole_table_of_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = [str(tmp_path), *METHODS, *(word for key, value in SMALL.items() for word in (f"--{key}", value))]
    monkeypatch.setattr(
        robust_measures,
        "ATTACKS",
        {name: Attack(of.norm, of.budget, of.method, 1, of.frames) for name, of in robust_measures.ATTACKS.items()},
    )
    robust_table.main(arguments)
    content = json.loads((tmp_path / "robust_table.json").read_text())
    records = content["records"]
    assert [(of["method"], of["seed"]) for of in records] == [("adaptformer-64", 0), ("full", 0)]
    for record in records:
        kept = record["method"] != "full"
        for probe in record["forgetting"].values():
            assert probe["removed_is_before"] == kept and (probe["removed"] == probe["before"] or not kept)
        assert 0 <= record["clean"] <= 100 and record["mean_corrupted"] == record["corrupted"]["gaussian_noise"]
    assert records[0]["trained"] < 100_000 < records[1]["trained"]
    page = (tmp_path / "robust_table.md").read_text()
    assert "2 trainings, 0 diverged" in page and (tmp_path / "robust_table.png").stat().st_size > 20_000
    lines = (tmp_path / "cells.jsonl").read_text()
    monkeypatch.setattr(robust_table, "_do", None)  # nothing is left to do
    robust_table.main(arguments)
    assert (tmp_path / "cells.jsonl").read_text() == lines
    assert json.loads((tmp_path / "robust_table.json").read_text())["records"] == records


def made(method: str, clean: list[float]) -> list[dict[str, Any]]:
    whole = {"trunk": "masked", "recipe": "plain", "rate": 0.1, "trained": 1234, "method": method}
    rest = {"mean_corrupted": 40.0, "reversed": 30.0, "mean_shift": 20.0}
    inside = {"unknown": {"energy": 60.0}, "attacks": {"pgd_linf_1": 10.0}}
    return [{**whole, **rest, **inside, "clean": value} for value in clean]


def test_words_say_who_is_ahead_and_by_more_than_the_spread() -> None:
    records = (
        made("full", [70.0, 72.0, 74.0])
        + made("adaptformer-64", [60.0, 61.0, 62.0])
        + made("lora-8", [58.0, 59.0, 60.0])
    )
    groups = grouped(records, "masked", "plain")
    assert mean_and_spread(groups["full"], "clean") == (72.0, 2.0)
    first = findings(groups)[0]
    ahead = "11.0 points ahead of adaptformer-64, beyond the spread (4.5)"
    assert first == f"- **clean**: full, {ahead}. adaptformer-64 is not the best."
    third = findings(groups | {"linear": made("linear", [65.0, 65.0, 65.0])})[0]
    assert third.endswith(f"beyond the spread (4.0). adaptformer-64 is not the best: full is {ahead}.")
    ours = findings(grouped(records[3:], "masked", "plain"))[0]
    assert ours == "- **clean**: adaptformer-64, 2.0 points ahead of lora-8, within the spread (2.8)."


def test_the_best_of_a_column_is_bold() -> None:
    groups = grouped(made("full", [70.0, 72.0]) + made("linear", [60.0, 61.0]), "masked", "plain")
    rows = table(groups, COLUMNS, bold=True)
    assert rows[2].startswith("| full | 1,234 | 0.1 | **71.0 ± 1.4** |") and "| 60.5 ± 0.7 |" in rows[3]
