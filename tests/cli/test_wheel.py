"""The package as a user has it: a wheel in an environment of its own, used in an empty folder."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.media import write_video
from tests.toy_runs import REPOSITORY, results

SOURCES = ("videoadapt", "configs", "data_lists", "setup.py", "pyproject.toml", "LICENSE")
SMALL = [
    "data.dataset.train_per_class=3",
    "data.dataset.test_per_class=1",
    "data.workers=0",
    "data.cache=off",
    "train.epochs=1",
    "train.batch_size=8",
    "test.clips=1",
    "test.crops=1",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of a new environment with the wheel.

    torch and all else come from the environment of the tests, by a path: installing them again would take gigabytes.
    """
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"  # a copy, because building leaves a folder behind
    tree.mkdir()
    for source in (REPOSITORY / name for name in SOURCES):
        if source.is_dir():  # what other tests compile there meanwhile comes and goes
            shutil.copytree(source, tree / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / source.name)
    pip = [sys.executable, "-m", "pip"]
    quiet = ["--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", *quiet, "--no-build-isolation", "-w", folder, tree], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv/bin/python"
    subprocess.run([*pip, "--python", python, "install", *quiet, wheel], check=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python.parent


def run(bin_folder: Path, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environ["PATH"] = f"{bin_folder}{os.pathsep}{environ['PATH']}"
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)


@pytest.mark.slow
def test_an_empty_folder_is_enough_to_train_and_predict(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "python", "-c", "import videoadapt; print(videoadapt.__file__)").stdout
    assert where.startswith(str(installed.parent))
    film = write_video(tmp_path / "film.mp4", num_frames=50)
    asked = run(installed, tmp_path, "videoadapt", "demo", film.name)  # before there is a run
    assert asked.returncode == 0 and "(adapter package:quickstart_adapter.safetensors)" in asked.stdout, asked.stderr
    assert "knows rendered motions only: " in asked.stderr and len(asked.stdout.splitlines()) == 6
    trained = run(installed, tmp_path, "videoadapt", "train", "--cfg", "quickstart", *SMALL)
    assert trained.returncode == 0, trained.stderr
    assert results(tmp_path / "outputs/quickstart")["num_videos"] == 8
    (hint,) = (line for line in trained.stdout.splitlines() if line.startswith("next: "))
    words = shlex.split(hint.removeprefix("next: "))
    assert words[:2] == ["videoadapt", "demo"]
    shown = run(installed, tmp_path, *words)
    assert shown.returncode == 0 and len(shown.stdout.splitlines()) == 6, shown.stderr
    tested = run(installed, tmp_path, "videoadapt", "test", "--cfg", "quickstart", *SMALL)
    assert tested.stdout == trained.stdout, tested.stderr


@pytest.mark.slow
def test_shipped_configs_and_lists_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    shown = run(installed, tmp_path, "videoadapt", "train", "--cfg", "hmdb51_adapt")
    assert shown.returncode == 2 and "1530 of the 1530 videos of data.test are not there" in shown.stderr
    assert "data.train = " not in shown.stderr and "Traceback" not in shown.stderr
    shown = run(installed, tmp_path, "python", "-m", "videoadapt", "sweep", "--cfg", "sweeps/smoke", "--list")
    assert shown.returncode == 0 and len(shown.stdout.splitlines()) == 4, shown.stderr
