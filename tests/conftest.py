"""Fixtures shared by all tests: the real clips, where this machine has them."""

import gc
import logging
import os
import subprocess
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch

from videoadapt import logger
from videoadapt.cli import train
from videoadapt.cli._command import name_user
from videoadapt.processes.server import CONTEXT
from videoadapt.registry import DATASETS

gc.disable()  # until all is collected: what imports and tests are made of is no garbage
name_user()  # as every command does
# Toy models: two threads that wait for each other are slower, and much slower on a busy machine.
torch.set_num_threads(1)
# A failed assertion in a helper shows its values, as in a test.
pytest.register_assert_rewrite("tests.frames", "tests.live_runs", "tests.toy_runs")

# What the processes that read videos import. They are forked from one that imports what the first user of it names, so
# that after a test of another kind each process of the loader's tests would import torch anew.
READING = ["tests.items", "videoadapt.video.readers", "videoadapt.preparing.reencode", "videoadapt.preparing.scan"]

# Few tests, and minutes of them. Begun last, they would run alone at the end of the slow tests, which are handed out in order.
LONGEST = (
    "test_quickstart.py",
    "test_sharding.py",
    "test_pairs_of_settings.py",
    "test_submission.py",
    "test_compiling.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end, so no look for garbage in a test goes through its 700,000 objects."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def forked_with_imports() -> None:
    """Start the process that others are forked from with all that any test needs there."""
    CONTEXT.set_forkserver_preload(READING)
    forkserver.ensure_running()


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """Folder with the real HMDB51, UCF101 and Kinetics clips, named by VIDEOADAPT_CLIPS; skips without, fails in CI."""
    folder = os.environ.get("VIDEOADAPT_CLIPS", "")
    if folder and Path(folder).is_dir():
        return Path(folder)
    message = f"VIDEOADAPT_CLIPS={folder!r} names no folder with the real clips"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the clips of toy runs, all of them: a test that looks for one need not train first."""
    from tests.toy_runs import toy_config  # its assertions are rewritten first, above

    folder = tmp_path_factory.mktemp("motions")
    data = toy_config(folder, folder)["data"]
    for split in (data["train"], data["test"]):
        DATASETS.build(data["dataset"]).load(split, folder)
    return folder


@pytest.fixture(scope="session")
def finished_run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short run, below `outputs`, which no test changes."""
    from tests.toy_runs import toy_config, write_config  # its assertions are rewritten first, above

    folder = tmp_path_factory.mktemp("finished_run")
    config = toy_config(folder / "outputs" / "run", clips, train={"epochs": 1})
    assert train.main(["--cfg", str(write_config(folder / "c.yaml", config))]) == 0
    return folder / "outputs" / "run"


@pytest.fixture(scope="session")
def validated_run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config of a finished run with a validation and a moving average, which no test changes.

    Its output is `run` beside it, its backbone `trunk.safetensors`.
    """
    from tests.toy_runs import toy_config, write_config  # their assertions are rewritten first, above
    from tests.weight_files import trunk

    folder = tmp_path_factory.mktemp("validated_run")
    changes: dict[str, Any] = {"train": {"epochs": 2, "ema": 0.5}, "data": {"val": {"holdout": 0.2}}}
    weights = trunk(folder / "trunk.safetensors")
    config = toy_config(folder / "run", clips, model={"weights": str(weights)}, **changes)
    assert train.main(["--cfg", str(write_config(folder / "c.yaml", config))]) == 0
    return folder / "c.yaml"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """The log of a command writes to the terminal of its test, which is closed for the next one."""
    yield
    logger.handlers.clear()


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """What the package logs during the test, `LEVEL message` each, whatever handlers an earlier run has left behind."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.levelname} {record.getMessage()}")  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)
