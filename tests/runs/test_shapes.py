"""Files of a run that an editor changed: whoever reads them says in one line which key of which file, and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.toy_sweeps import finish, sweep
from videoadapt.cli import compare, push, report
from videoadapt.errors import VideoAdaptError
from videoadapt.slurm.attempts import Attempt, read_submission
from videoadapt.slurm.status import status_lines

TEXT, LIST, NOTHING = "x", [1], None


def change(path: Path, key: str, value: Any) -> None:
    """Set a dotted key of the only record in a file, or of the first of many."""
    first, *others = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    record = json.loads(first)
    *places, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    holder = record
    for place in places:
        holder = holder[place]
    holder[last] = value
    path.write_text("\n".join([json.dumps(record), *others, ""]))


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("results.json", "top1", TEXT, "top1 = 'x': input should be a valid number; delete it, and test the run again"),
        ("results.json", "num_videos", True, "num_videos = True: input should be a valid integer; delete it"),
        ("results.json", "average", LIST, "average = [1]: input should be 'logits' or 'probs'; delete it"),
        ("results.json", "readable_only", NOTHING, "readable_only = None: input should be keys with values; delete it"),
        (
            "results.json",
            "trained_parameters",
            "5",
            "trained_parameters = '5': input should be a valid integer; delete",
        ),
        ("results.json", "checkpoint", 3, "checkpoint = 3: input should be a valid string; delete it"),
        ("outcome.json", "ended", TEXT, "is not the outcome of a run: ended = 'x': input should be a valid number"),
        ("outcome.json", "command", 2.5, "is not the outcome of a run: command = 2.5: input should be a valid list"),
        ("phases.jsonl", "machine", TEXT, "line 1: machine = 'x': input should be keys with values; delete that line"),
        ("phases.jsonl", "steps", LIST, "line 1: steps = [1]: list should have at least 2 items after validation"),
        ("phases.jsonl", "sec", 0, "line 1: sec = 0: input should be greater than 0; delete that line"),
        ("timing.jsonl", "step_sec", TEXT, "line 1: step_sec = 'x': input should be a valid number; delete that line"),
        ("metrics.jsonl", "step", NOTHING, "line 1: step = None: input should be a valid integer; delete that line"),
        ("metrics.jsonl", "epoch", NOTHING, "line 1: the record of an update needs lr and epoch, which are numbers"),
    ],
)
def test_the_report_names_the_key(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, key: str, value: Any, said: str
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    change(run / file, key, value)
    assert report.main([str(run)]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {run}/{file}: {said}") and line.count("\n") == 1


@pytest.mark.parametrize("command", [compare.main, push.main])
def test_other_readers_of_results(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], int]
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    told = {compare.main: [str(finished_run), str(run)], push.main: [str(run), "hf:bea/motions"]}[command]
    change(run / "results.json", "top1", "90 %")
    assert command([*told, "--out", str(tmp_path / "out")]) == 2
    assert f"error: {run}/results.json: top1 = '90 %': input should be a valid number; del" in capsys.readouterr().err


def test_compare_names_a_score_that_one_run_lacks(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    results = json.loads((run / "results.json").read_text())
    del results["mean_class"]
    (run / "results.json").write_text(json.dumps(results))
    assert compare.main([str(finished_run), str(run), "--out", str(tmp_path / "out")]) == 2
    assert f"only one of this run and {finished_run} has mean_class in results.json" in capsys.readouterr().err


def test_a_sweep_names_what_is_wrong_in_a_cell(tmp_path: Path) -> None:
    cell = sweep(tmp_path).cells[0]
    finish(cell, 50.0, 40.0)
    change(cell.folder / "metrics.jsonl", "top1", TEXT)
    with pytest.raises(
        VideoAdaptError, match=r"metrics.jsonl: line 1: top1 = 'x': input should be a valid number; del"
    ):
        _ = cell.val_top1
    change(cell.folder / "results.json", "num_unreadable", NOTHING)
    with pytest.raises(VideoAdaptError, match=r"results.json: num_unreadable = None: .*tests the cell again"):
        _ = cell.finished


def test_the_status_of_a_job_names_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "7"
    folder.mkdir(parents=True)
    submitted = {"submitted": 1.0, "job_id": "7", "executor": "local", "ranks": 1}
    (folder / "submission.json").write_text(json.dumps(submitted | {"submitted": TEXT}))
    with pytest.raises(VideoAdaptError, match=r"submission.json: submitted = 'x': input should be a valid number; del"):
        read_submission(folder)
    (folder / "submission.json").write_text(json.dumps(submitted))
    (folder / "attempt_0.json").write_text(json.dumps({"began": 1.0, "hosts": ["n"], "how": TEXT, "message": "m"}))
    with pytest.raises(
        VideoAdaptError, match=r"attempt_0.json: how = 'x': allowed: finished, timed_out, .*; delete it"
    ):
        status_lines(tmp_path)
    (folder / "attempt_0.json").write_text(json.dumps({"began": 1.0, "hosts": 3}))
    with pytest.raises(VideoAdaptError, match=r"attempt_0.json: hosts = 3: input should be a valid list; delete it"):
        Attempt(folder, 0).read()
