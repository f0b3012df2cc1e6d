"""The package where Python is as on Windows (`tests/as_on_windows.py`): it imports, trains, tests and predicts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import as_on_windows
from tests.toy_runs import toy_config
from videoadapt.config.loading import load_config
from videoadapt.training.execution import execute

IMPORTS = """
import importlib, os, pkgutil
import videoadapt
import videoadapt.system as system

assert system.WINDOWS and not hasattr(system.os, "fork") and hasattr(os, "fork")
names = [found.name for found in pkgutil.walk_packages(videoadapt.__path__, "videoadapt.")]
for name in names:
    if not name.startswith("videoadapt.__main__"):
        importlib.import_module(name)
print(len(names))
"""
TRAINS = """
import sys, yaml
import videoadapt as va

if __name__ == "__main__":
    for name in sys.argv[1:]:
        result = va.run(va.load_config(name))
    video = next(result.folder.parent.glob("data/**/*.mp4"))
    print(va.load(result.folder).predict(video)[0].name)
"""
BLOCKED = """
import ctypes
from videoadapt.processes.worker import Lost, map_in_processes

def sleeps(seconds):
    ctypes.PyDLL(None).sleep(seconds)  # in native code, and no other thread of Python runs
    return seconds

if __name__ == "__main__":
    print(sorted(map_in_processes(sleeps, [0, 100, 0, 0], 2, 8.0)))
"""
LATE = """
import ctypes
from videoadapt.processes.worker import Worker

def sleeps(seconds):
    ctypes.PyDLL(None).sleep(seconds)

def fails(seconds):
    raise ValueError(seconds)

if __name__ == "__main__":
    for function in (sleeps, fails):
        worker = Worker(function, 1.0)
        worker.send(100)
        worker._process.join()
        print(worker.receive(), worker.receive().reason)
        worker.stop()
"""
HOLDS = """
import sys
from pathlib import Path
from videoadapt.processes.lock import only_process_in

with only_process_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def script(folder: Path, text: str) -> str:
    """A file with this program."""
    path = folder / "program.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def config_file(folder: Path, name: str, root: Path, **changes: object) -> str:
    """A toy run's yaml."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(toy_config(folder / name, root, **changes)), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_every_file_is_imported_without_what_windows_lacks(tmp_path: Path) -> None:
    done = as_on_windows.run(tmp_path, "-c", IMPORTS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150


@pytest.mark.slow
def test_training_testing_and_predicting_are_the_same(tmp_path: Path) -> None:
    here = execute(load_config(config_file(tmp_path, "here", tmp_path / "data", train={"epochs": 1})))[1]
    names = [
        config_file(tmp_path, f"workers{workers}", tmp_path / "data", train={"epochs": 1}, data={"workers": workers})
        for workers in (0, 2)
    ]
    done = as_on_windows.run(tmp_path, script(tmp_path, TRAINS), *names)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in (tmp_path / "here" / "classes.txt").read_text(encoding="utf-8").splitlines()
    metrics = [
        (tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8") for name in ("here", "workers0", "workers2")
    ]
    assert metrics[0] == metrics[1] == metrics[2]
    assert here is not None
    for name in ("workers0", "workers2"):
        results = json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))
        assert results["top5"] == here["top5"]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.slow
def test_a_video_that_blocks_native_code_loses_itself_alone(tmp_path: Path) -> None:
    done = as_on_windows.run(tmp_path, script(tmp_path, BLOCKED))
    assert done.returncode == 0, done.stderr
    lost = "Lost(reason='took longer than 8 s', overtime=True)"
    assert done.stdout.strip() == f"[(0, 0), (1, {lost}), (2, 0), (3, 0)]"


@pytest.mark.slow
def test_a_parent_that_hears_late_knows_what_ended_a_process(tmp_path: Path) -> None:
    """It went by its own clock, and called a film that takes too long one that ends its process."""
    done = as_on_windows.run(tmp_path, script(tmp_path, LATE))
    assert done.returncode == 0 and "ValueError: 100" in done.stderr, done.stderr
    said = ["took longer than 1 s", "the process that worked on it ended with exit code 2"]
    assert done.stdout.splitlines() == [f"Started() {reason}" for reason in said]


@pytest.mark.slow
def test_a_folder_is_held_until_its_process_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    env = as_on_windows.environment(tmp_path)
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        second = subprocess.run(command, env=env, input="", capture_output=True, text=True)
        assert f"another run is using this folder (process {first.pid} on " in second.stderr
        first.kill()
    third = subprocess.run(command, env=env, input="", capture_output=True, text=True)
    assert (third.returncode, third.stdout) == (0, "held\n"), third.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["sweep", "--help"], ["submit", "--help"]])
def test_help(tmp_path: Path, arguments: list[str]) -> None:
    done = as_on_windows.run(tmp_path, "-m", "videoadapt", *arguments)
    assert done.returncode == 0 and done.stdout.startswith("usage: ") and not done.stderr


@pytest.mark.slow
def test_submitting_is_refused_in_one_line(tmp_path: Path) -> None:
    done = as_on_windows.run(tmp_path, "-m", "videoadapt", "submit", "--cfg", "quickstart")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(
        "error: submit: jobs save and go on by signals that Windows has not; submit from Linux"
    )


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["ram", "./kept"])
def test_a_cache_is_refused_before_the_first_step(tmp_path: Path, cache: str) -> None:
    dataset = {
        "name": "synthetic",
        "vocabulary": "quickstart",
        "train_per_class": 1,
        "val_per_class": 0,
        "test_per_class": 1,
    }
    config = config_file(tmp_path, "cached", tmp_path / "data", data={"cache": cache, "dataset": dataset})
    done = as_on_windows.run(tmp_path, "-m", "videoadapt", "train", "--cfg", config)
    assert done.returncode == 2 and "Traceback" not in done.stderr and not (tmp_path / "cached").exists()
    assert "this system has no locks that processes share" in done.stderr.splitlines()[-1]
