"""How long OpenMP's threads go round before they sleep: set before torch is imported, unless the user has said so."""

import subprocess
import sys

import pytest

from tests.toy_runs import REPOSITORY, environment

# OpenMP's library is loaded as torch does it, without the seconds that torch takes, and says what it goes by.
SHOW = """
import ctypes, importlib.util, pathlib, sys
{first}
assert "torch" not in sys.modules
folder = pathlib.Path(importlib.util.find_spec("torch").origin).parent
ctypes.CDLL(str(next(iter([*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")]), "libgomp.so.1")))
"""
FRONT_DOORS = [
    "import videoadapt",
    "import videoadapt.slurm",  # what a task on a node is read from
    "import videoadapt.cli.main",
    "import videoadapt.processes.signals",
    *(f"sys.path.insert(0, 'tools'); import {path.stem}" for path in (REPOSITORY / "tools").glob("*.py")),
]


def shown(first: str, **variables: str) -> str:
    """What OpenMP says that it goes by in a process that begins with the line `first`."""
    mine = {name: value for name, value in environment().items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", SHOW.format(first=first)],
        env={**mine, "OMP_DISPLAY_ENV": "verbose", "OMP_NUM_THREADS": "1", **variables},
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "GOMP_SPINCOUNT" in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize("first", FRONT_DOORS)
def test_every_front_door_sets_it_before_torch(first: str) -> None:
    assert "GOMP_SPINCOUNT = '30000'" in shown(first)


def test_what_the_user_has_set_wins() -> None:
    assert "GOMP_SPINCOUNT = '7'" in shown("import videoadapt", GOMP_SPINCOUNT="7")
    assert "GOMP_SPINCOUNT = '0'" in shown("import videoadapt", OMP_WAIT_POLICY="PASSIVE")
    assert "GOMP_SPINCOUNT = '30000'" not in shown("import videoadapt", OMP_WAIT_POLICY="ACTIVE")
