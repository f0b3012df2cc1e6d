"""A run under attack, through the command: its clean score is the test's, and what cannot be attacked is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.toy_runs import results, toy_config, write_config
from videoadapt.cli.attack import main
from videoadapt.config.loading import load_config
from videoadapt.training.execution import execute


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    """A tested run with two views a video, trained for long enough to be right about more than one of eight."""
    folder = tmp_path_factory.mktemp("attacked")
    config = toy_config(
        folder / "run", clips, train={"epochs": 6}, test={"clips": 2, "crops": 1}, model={"adapter": {"name": "full"}}
    )
    execute(load_config(write_config(folder / "c.yaml", config)))
    return folder / "run"


def attack(run: Path, *options: str) -> dict[str, Any]:
    assert main([str(run), "--device", "cpu", *options]) == 0
    content: dict[str, Any] = json.loads((run / "attack.json").read_text())
    return content


@pytest.mark.slow
def test_a_run_under_attack(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = attack(run, "--steps", "3", "--budget", "8")
    assert found["clean"]["top1"] == results(run)["top1"] > 0
    assert (
        found["attacked"]["loss"] > found["random"]["loss"] and found["attacked"]["loss"] > found["clean"]["loss"] + 0.1
    )
    assert found["attacked"]["top1"] < found["clean"]["top1"]
    low, high = found["attacked"]["interval"]
    assert low <= found["attacked"]["top1"] <= high and (found["videos"], found["views"]) == (16, 2)
    said = capsys.readouterr().out
    assert "pgd, linf, 8 of 255 grey levels, 3 steps, frames: all; 16 videos x 2 views" in said
    assert f"attacked          top-1 {found['attacked']['top1']:5.1f} %" in said
    moved = "--root", str(run.parent / "moved")  # where they are rendered again
    one_frame = attack(run, *moved, "--budget", "8", "--frames", "1", "--videos", "5", "--method", "fgsm")
    assert one_frame["videos"] == 5 and one_frame["attack"]["frames"] == 1 and (run.parent / "moved/test.csv").exists()
    assert (
        found["attacked"]["loss"] - found["clean"]["loss"] > one_frame["attacked"]["loss"] - one_frame["clean"]["loss"]
    )
    film = next((run.parent / "moved" / "test").rglob("*.mp4"))
    film.write_bytes(film.read_bytes()[:200])
    assert main([str(run), "--device", "cpu", *moved, "--steps", "1", "--method", "fgsm"]) == 3
    assert capsys.readouterr().err.endswith("1 of 16 test videos cannot be read: counted as wrong\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--frames", "5"], "frames = 5: allowed: 1 to 4, the frames of a clip, or all"),
        (["--videos", "17"], "--videos 17: allowed: 1 to 16, the videos of the test list"),
        (["--budget", "0.5"], "budget = 0.5: allowed: 1 to 255 grey levels"),
        (["--seed", "-1"], "seed = -1: allowed: 0 or more"),
    ],
)
def test_what_cannot_be_attacked(run: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--device", "cpu", *options]) == 2
    assert said in capsys.readouterr().err
