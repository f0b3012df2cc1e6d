"""docs/python.md: all its Python, from top to bottom, on a toy run that stands where the quickstart's would."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy_runs import REPOSITORY, environment, run, toy_config, write_config
from videoadapt import api

PAGE = (REPOSITORY / "docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "outputs/quickstart", tmp_path / "data/quickstart", data={"workers": 1})
    run(write_config(tmp_path / "quickstart", config))  # a file of this name is taken before the shipped config
    page = "".join(f"print('block {number}', flush=True)\n{block}" for number, block in enumerate(BLOCKS))
    done = subprocess.run(
        [sys.executable, "-c", page], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=600
    )  # as in a notebook there is no file of the script that reader processes could import
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nblock ") == len(BLOCKS) - 1 >= 8


def test_every_name_is_on_the_page() -> None:
    missing = {name for name in api.__all__ if f"va.{name}" not in PAGE}
    assert not missing - {"Prediction", "Predictor", "RunResult", "Config"}, missing
