"""One Slurm for all tests with the marker `slurm`; without Slurm, or without root, they are skipped with the reason."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """The folder of a running cluster of seven nodes; stopped at the end, also after a failure."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in DAEMONS if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (tests/cluster/packages.txt)")
    if os.geteuid() != 0:
        pytest.skip("a cluster of one's own needs root")
    # one that CI knows, to stop it even when this process is killed; munge refuses a socket that others cannot reach
    parent = Path(os.environ.get("VIDEOADAPT_SLURM") or tempfile.mkdtemp(prefix="videoadapt_slurm_"))
    parent.chmod(0o755)
    folder = parent / "cluster"
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        subprocess.run([SCRIPTS / "up.sh", folder], check=True, timeout=240)
        yield folder
    finally:
        subprocess.run([SCRIPTS / "down.sh", folder], check=True, timeout=120)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(parent)
