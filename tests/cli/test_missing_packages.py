"""Without packages that have no build for every platform, what does not need them works; what does says so in a line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy_runs import REPOSITORY, environment, results, toy_config, write_config

BLOCKED = ("decord", "fvcore", "iopath", "pytorchvideo", "submitit", "tensorboard")
# Python runs this file at its start, so that the processes that read videos do without them as well.
SITECUSTOMIZE = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(blocks: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = environment()
    environ["PYTHONPATH"] = f"{blocks}:{environ['PYTHONPATH']}"
    return subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, env=environ, capture_output=True, text=True)


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks/sitecustomize.py").write_text(SITECUSTOMIZE)
    return tmp_path / "blocks"


@pytest.mark.slow
def test_a_run_does_without_them(blocks: Path, clips: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips, train={"epochs": 1}))
    trained = run(blocks, "-m", "videoadapt", "train", "--cfg", str(config), "data.workers", "1")
    assert trained.returncode == 0, trained.stderr
    assert results(tmp_path / "out")["num_unreadable"] == 0
    log = (tmp_path / "out/run.log").read_text()
    assert "not counted, because fvcore is not installed (pip install fvcore)" in log
    assert "no curves for TensorBoard, which is not installed" in log
    assert "decord hands over to pyav: decord cannot be imported (No module named 'decord')" in trained.stderr
    video = next(clips.glob("test/*/*.mp4"))
    shown = run(blocks, "-m", "videoadapt", "demo", str(video), "--run", str(tmp_path / "out"))
    assert shown.returncode == 0 and len(shown.stdout.splitlines()) == 6, shown.stderr


@pytest.mark.slow
def test_what_needs_one_names_it(blocks: Path, tmp_path: Path) -> None:
    submitted = run(blocks, "-m", "videoadapt", "submit", "--cfg", "quickstart", f"output={tmp_path}")
    expected = "error: this needs the package submitit, which is not installed: pip install submitit\n"
    assert (submitted.returncode, submitted.stderr) == (2, expected)
    backbone = "model.backbone={name: pytorchvideo, model: x3d_s}"
    trained = run(blocks, "-m", "videoadapt", "train", "--cfg", "quickstart", backbone, f"output={tmp_path}")
    assert trained.returncode == 2 and trained.stderr.count("\n") == 1, trained.stderr
    assert "backbone pytorchvideo: needs the package pytorchvideo, which is not installed: `pip inst" in trained.stderr


def test_the_registries_stand_in_for_fvcore(blocks: Path) -> None:
    show = (
        "import sys, videoadapt.registry as r; assert 'fvcore' not in sys.modules\n"
        "r.ADAPTERS.register('mine')(type('Mine', (), {}))\n"
        "print(r.ADAPTERS.get('mine').__name__, r.name_of(r.ADAPTERS.get('lora')()), 'mine' in r.ADAPTERS.names())"
    )
    done = run(blocks, "-c", show)
    assert done.stdout == "Mine lora True\n", done.stderr
