"""A sweep as one array on a real Slurm: what is missing is submitted, and nothing twice."""

import json
import re
from pathlib import Path

import pytest

from tests.cluster.jobs import Job, slurm, wait_for
from tests.toy_runs import REPOSITORY, toy_config, write_config
from videoadapt.cli import sweep
from videoadapt.slurm.attempts import job_folders
from videoadapt.sweeps.plan import Sweep

pytestmark = pytest.mark.slurm


def test_a_sweep_is_an_array_of_its_missing_cells(
    cluster: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    write_config(tmp_path / "base.yaml", toy_config(tmp_path / "unused", clips, train={"epochs": 1}))
    rates = {"low": {"optim.lr_per_256": 0.01}, "high": {"optim.lr_per_256": 0.05}}
    plan = {"base": "base.yaml", "output": str(tmp_path / "sweep"), "seeds": [0, 1], "axes": {"rate": rates}}
    path = write_config(tmp_path / "plan.yaml", plan)

    def submit() -> tuple[list[str], str]:
        assert sweep.main(["--cfg", str(path), "--slurm", "--time", "10", "--array-parallelism", "2"]) == 0
        said = capsys.readouterr().out
        return re.findall(r"^job (\S+): rate ", said, re.M), said

    first, said = submit()
    array = {job.partition("_")[0] for job in first}
    assert len(first) == 4 and len(array) == 1, said
    again, said = submit()
    assert again == [] and "4 cells wait or run" in said
    cells = Sweep(path).cells
    jobs = [Job(cell.folder) for cell in cells]
    for job in jobs:
        job.wait("COMPLETED")
    again, said = submit()
    assert again == [] and "so far" in said and "wait or run" not in said
    table = (tmp_path / "sweep" / "table.md").read_text()
    assert table.count("| low ") == 1 and table.count("| high ") == 1
    for cell in cells:
        results = json.loads((cell.folder / "results.json").read_text())
        assert results["num_videos"] == 16 and len(job_folders(cell.folder)) == 1
    (cells[1].folder / "results.json").unlink()
    again, said = submit()
    assert len(again) == 1 and cells[1].name in said
    wait_for((cells[1].folder / "results.json").is_file, 400, lambda: slurm("squeue"))
    assert json.loads((cells[1].folder / "results.json").read_text())["num_videos"] == 16


def test_a_cell_that_diverges_on_slurm_is_done_and_not_chosen(
    cluster: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    base = toy_config(tmp_path / "unused", clips, train={"epochs": 1, "batch_size": 8}, data={
        **toy_config(tmp_path, clips)["data"], "val": {"holdout": 0.2}})  # fmt: skip
    write_config(tmp_path / "base.yaml", base)
    plan = {"base": "base.yaml", "output": str(tmp_path / "sweep"), "axes": {"optim.lr_per_256": [0.01, 1e30]},
            "select": {"axis": "optim.lr_per_256"}}  # fmt: skip
    path = write_config(tmp_path / "plan.yaml", plan)
    assert sweep.main(["--cfg", str(path), "--slurm", "--time", "10"]) == 0
    for cell in Sweep(path).cells:
        Job(cell.folder).wait()
    good, bad = Sweep(path).cells
    assert bad.diverged and not good.diverged
    assert [cell.name for cell in Sweep(path).missing()] == [good.name]  # now to be tested
