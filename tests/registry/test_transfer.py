"""What a notebook, a script or a module registers reads videos in other processes too, to the same bits; or says why not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.media import write_video
from tests.plugins import OPENING
from tests.toy_runs import REPOSITORY, environment

PARTS = """
import threading
from typing import Annotated

import numpy as np
from annotated_types import Ge

from videoadapt.registry import DECODERS, SAMPLERS
from videoadapt.video.decoders.pyav import PyAV
from videoadapt.video.samplers import Sampler

FLIP = -1  # a name of the notebook that the class refers to


@DECODERS.register("flipped")
class Flipped(PyAV):
    def __init__(self, path, /, *, threads: Annotated[int, Ge(1)] = 1):
        super().__init__(path, threads=threads)

    def get(self, indices):
        return super().get(indices)[:, ::FLIP].copy()
"""
PARTS += '\n\n@SAMPLERS.register("opening")' + OPENING
LOCK = "FLIP = -1\nLOCK = threading.Lock()"
READING = """
import hashlib
from pathlib import Path

from videoadapt.config.loading import load_config
from videoadapt.data.structures import Video
from videoadapt.preparing.inspection import inspect_file
from videoadapt.processes.worker import map_in_processes
from videoadapt.runs.build_data import build_test_loader


def read(workers):
    changes = ["data.decoder.name=flipped", "data.sampling={name: opening, skip: 2}", f"data.workers={workers}"]
    config = load_config("x.yaml", changes)
    videos = [Video(path.name, path, 0) for path in sorted(Path().glob("*.mp4"))]
    digest = hashlib.sha256()
    for views in build_test_loader(videos, config.data, 1, 1):
        assert not hasattr(views, "reason"), views
        digest.update(views.views_NJCTHW.numpy().tobytes())
    return digest.hexdigest()
"""
UNUSED = """
@DECODERS.register("unused")
class Unused(PyAV):
    def close(self):
        LOCK.locked()

LOCK = threading.Lock()  # so it cannot be sent, which nobody asks for
"""
SAME = "assert read(0) == read(2)\nprint('the same')\n"
SCAN = """
from functools import partial
((_, found),) = map_in_processes(partial(inspect_file, decoder={"name": "flipped"}), [Path("0.mp4")], 1, 60.0)
print(found.wrong)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", num_frames=10 + number)
    (tmp_path / "x.yaml").write_text("output: o\ndata: {num_frames: 4, crop_px: 32}\n")
    return tmp_path


def python(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in `folder`; with "-c" its `__main__` comes from no file, as in a notebook."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**environment(), "PYTHONPATH": f"{REPOSITORY}:{folder}"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_a_notebook_reads_in_other_processes(folder: Path) -> None:
    done = python(folder, "-c", PARTS + UNUSED + READING + SAME + SCAN)
    assert done.returncode == 0, done.stderr
    same, wrong = done.stdout.splitlines()
    assert same == "the same"
    assert "frame" in wrong  # its pictures are upside down


@pytest.mark.slow
def test_a_script_reads_in_other_processes(folder: Path) -> None:
    body = "".join(f"    {line}\n" for line in SAME.splitlines())
    (folder / "script.py").write_text(f"{PARTS}{READING}if __name__ == '__main__':\n{body}")
    done = python(folder, "script.py")
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


@pytest.mark.slow
def test_a_module_is_imported_there(folder: Path) -> None:
    (folder / "parts.py").write_text(PARTS.replace("FLIP = -1", LOCK))
    done = python(folder, "-c", f"import parts\n{READING}{SAME}")
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "return super().get",
            "decoders: name = 'flipped': its class cannot be sent to another process (cannot pickle",
        ),
        ("return np.minimum", "what reads the videos cannot be sent to another process (cannot pickle"),
    ],
    ids=["decoder", "sampler"],
)
def test_what_cannot_be_sent_says_so(folder: Path, line: str, said: str) -> None:
    """Its code refers to a lock of the notebook."""
    locked = PARTS.replace("FLIP = -1", LOCK).replace(line, f"LOCK.locked()\n        {line}")
    done = python(folder, "-c", f"{locked}{READING}{SAME}")
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert "define it in a module and import it from there, or read with `workers` 0" in done.stderr
