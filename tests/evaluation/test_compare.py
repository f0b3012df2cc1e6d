"""Runs on the same videos: the tests of their difference against their definitions, the page, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.made_tests import leave_test
from tests.pages import Page
from videoadapt.cli import compare
from videoadapt.evaluation.paired import Changes, changes, difference_interval, map_difference_interval
from videoadapt.evaluation.report.page import write_report
from videoadapt.evaluation.report.side_by_side import write_comparison

NAMES = ["<run>", "$x$", "走る"]
LABELS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def logits(called: list[int]) -> np.ndarray:
    """One view that calls each video so."""
    return np.eye(3)[called][:, None] * 3


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """The first has 6 of 10 right, the second 7: it gained the videos 6, 7 and 8, and lost 0 and 1."""
    first = leave_test(tmp_path / "first", NAMES, LABELS, logits([0, 1, 2, 0, 1, 2, 1, 2, 0, 2]))
    second = leave_test(
        tmp_path / "second", NAMES, LABELS, logits([1, 0, 2, 0, 1, 2, 0, 1, 2, 2]), optim={"weight_decay": 0.25}
    )
    write_report(second)
    return {"first": first, "second": second}


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (2, 3), (10, 25), (0, 9), (300, 251), (4, 4)])
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    found = Changes(5, lost, gained, 7).p
    from scipy.stats import binomtest  # slow to import: each process that runs tests reads all their files

    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert found == pytest.approx(expected, rel=1e-9)


def test_changes_and_the_paired_interval() -> None:
    first_N = np.repeat([True, True, False, False], [120, 10, 30, 40])
    second_N = np.repeat([True, False, True, False], [120, 10, 30, 40])
    assert changes(first_N, second_N) == (120, 10, 30, 40)
    interval = difference_interval(first_N, second_N, [str(n) for n in range(200)])
    # of the differences -1, 0, 1 the mean is 0.1, and the standard error sqrt((40 / 200 - 0.1^2) / 200)
    half = 196 * ((0.2 - 0.01) / 200) ** 0.5
    np.testing.assert_allclose(interval, [10 - half, 10 + half], atol=0.6)
    groups = difference_interval(first_N, second_N, [str(n // 20) for n in range(200)])
    assert groups is not None and interval is not None and groups[1] - groups[0] > interval[1] - interval[0]


def test_the_interval_of_a_difference_of_map_is_paired() -> None:
    rng = np.random.default_rng(0)
    targets_NK = rng.uniform(size=(80, 4)) < 0.3
    first_NK = targets_NK + rng.normal(size=(80, 4))
    assert map_difference_interval(first_NK, first_NK, targets_NK) == (0, 0)
    better = map_difference_interval(first_NK, first_NK + 5 * targets_NK, targets_NK)
    assert better is not None and 0 < better[0] < better[1] < 100


def test_two_runs_side_by_side(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert compare.main(["first", "second"]) == 0
    said = capsys.readouterr().out
    assert "first" in said and "+10.00 points" in said and said.endswith("files: compare.html\n")
    row = next(line for line in said.splitlines() if "points" in line).split()
    assert row[-3:] == ["3", "2", "1"]  # gained, lost, p
    page = Page(tmp_path / "compare.html")
    assert page.asks_nothing() and page.links == ["second/report.html"] and (tmp_path / page.links[0]).exists()
    assert re.search(r"optim.weight_decay [\d.]+ 0.25", page.text) and not {"run", "script"} & {
        tag for tag, _ in page.tags
    }
    gained, _, lost = page.text.partition("Gained: 3")[2].partition("Lost: 2")
    assert all(f"film_{n}.mp4" in gained for n in (6, 7, 8)) and all(f"film_{n}.mp4" in lost for n in (0, 1))
    assert "film_7.mp4 $x$ 走る 91 % $x$ 91 %" in gained and "film_3.mp4" not in gained + lost


def test_a_run_that_was_tested_otherwise_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [leave_test(tmp_path / name, NAMES, LABELS, logits(LABELS)) for name in "ab"]
    assert compare.main([*map(str, folders), "--out", str(tmp_path / "x.html")]) == 0
    assert "otherwise" not in capsys.readouterr().out and "test.clips" not in Page(tmp_path / "x.html").text
    path = folders[1] / "results.json"
    other = {"other_than_trained": {"test.clips": {"trained": 4, "tested": 1}}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **other}))
    assert compare.main([*map(str, folders), "--out", str(tmp_path / "x.html")]) == 0
    assert f"{folders[1]} was tested otherwise than it was trained: test.clips = 1\n" in capsys.readouterr().out
    assert "test.clips 4 1" in Page(tmp_path / "x.html").text


def test_other_test_lists_are_refused_in_a_line(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = leave_test(tmp_path / "other", NAMES, LABELS[:9], logits(LABELS[:9]))
    assert compare.main([str(runs["first"]), str(other), "--out", str(tmp_path / "x.html")]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1 and "other: was tested on another list than" in error and "9 videos, there 10" in error
    )
    assert not (tmp_path / "x.html").exists()
    renamed = leave_test(tmp_path / "renamed", NAMES[::-1], LABELS, logits(LABELS))
    for folders, what in (
        ([runs["first"], renamed], "has other class names than"),
        ([runs["first"]], "needs two runs or more"),
        ([runs["first"], runs["first"]], "needs two runs or more"),
        ([runs["first"], tmp_path / "nothing"], "results.json: is not there; test the run first"),
    ):
        assert compare.main([*map(str, folders), "--out", str(tmp_path / "x.html")]) == 2
        assert what in capsys.readouterr().err


def test_runs_of_several_labels_and_groups(runs: dict[str, Path], tmp_path: Path) -> None:
    rng, folders = np.random.default_rng(0), {}
    for name in ("a", "b"):
        labels = [(0, 1), (2,), ()] * 8
        folders[name] = leave_test(
            tmp_path / name, NAMES, labels, rng.normal(size=(24, 1, 3)), data={"labels": "multi"}
        )
    found = write_comparison(folders, tmp_path / "multi.html")
    page = Page(tmp_path / "multi.html")
    assert page.asks_nothing() and found.against[0].by_videos and "McNemar" not in page.text
    grouped = {"val": {"holdout": 0.1, "group": "(_[0-9])"}}
    ids = [f"film_{n % 5}_{n}.mp4" for n in range(10)]
    for name in ("c", "d"):
        leave_test(tmp_path / name, NAMES, LABELS, logits(LABELS), ids, data=grouped)
    sums = json.loads((tmp_path / "d/results.json").read_text())
    (tmp_path / "d/results.json").write_text(json.dumps({**sums, "test_files_sha256": "other"}))
    found = write_comparison({name: tmp_path / name for name in "cd"}, tmp_path / "groups.html")
    assert found.num_groups == 5 and found.against[0].by_groups == (0, 0)
    assert "their files differ" in Page(tmp_path / "groups.html").text
