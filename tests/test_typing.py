"""A user's script is checked by `mypy --strict` against the installed package: py.typed, and what editors complete."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy_runs import REPOSITORY

SCRIPT = """
from pathlib import Path
from typing import assert_type

import numpy as np
import torch
from numpy.typing import NDArray

import videoadapt as va

model = va.load(Path("outputs/run"), device="cuda:0")
assert_type(model, va.Predictor)
assert_type(model.predict("a.mp4", top=3), list[va.Prediction])
assert_type(model.predict(["a.mp4", Path("b.mp4")]), list[list[va.Prediction]])
assert_type(model.predict(Path().glob("*.mp4")), list[list[va.Prediction]])
assert_type(model.predict(np.zeros((8, 64, 64, 3), np.uint8)), list[va.Prediction])
assert_type(model.features(torch.zeros(8, 64, 64, 3, dtype=torch.uint8)), torch.Tensor)
assert_type(model.logits(["a.mp4"]), list[torch.Tensor])
assert_type(model.predict("a.mp4", start_sec=1.0, end_sec=None, reject=0.05), list[va.Prediction])
assert_type(model.logits(["a.mp4"], fps_hz=30), list[torch.Tensor])
model.features("a.mp4", start=1.0)  # type: ignore[call-overload]
assert_type(model.class_names, list[str])
va.load(3)  # type: ignore[arg-type]  # an unused ignore is an error: so mypy sees this one
model.predict(3)  # type: ignore[call-overload]
va.load("outputs/run").predicted  # type: ignore[attr-defined]
torch.zeros(8).predicted  # type: ignore[attr-defined]  # what is torch's is no Any
np.zeros(8).predicted  # type: ignore[attr-defined]

with va.open_video("a.mp4", decoder="pyav") as video:
    frames: NDArray[np.uint8] = video[2:8]
    for frame in video:
        assert_type(len(video), int)
assert_type(va.read_clip(Path("a.mp4"), num_frames=8, stride=2), torch.Tensor)

net = va.create_model("vit", size="base", weights=Path("weights.pth"), adapter=["lora"], num_classes=51)
assert_type([p.requires_grad for p in net.parameters()], list[bool])
result = va.run(va.load_config("config.yaml", {"train.epochs": 3}))
assert_type(result.top1, float | None)
assert_type(va.adapters(), list[str])
try:
    va.load_config(Path("config.yaml"), ["train.epochs=3"])
except va.ConfigError as error:
    assert_type(error.problems, list[str])
"""
# Parts of torch from which no type of the script comes; to read them takes longer than all else.
ASIDE = """
[mypy]
[mypy-torch._dynamo.*,torch._export.*,torch._functorch.*,torch._higher_order_ops.*,torch._inductor.*,torch._subclasses.*,\
torch.distributed.*,torch.export.*,torch.fx.*,torch.onnx.*,torch.utils.*]
follow_imports = skip
"""


@pytest.mark.slow
def test_a_script_is_typed(tmp_path: Path) -> None:
    site = tmp_path / "site"  # only what is installed is read with its py.typed; the clone itself would be checked
    site.mkdir()
    (site / "videoadapt").symlink_to(REPOSITORY / "videoadapt")
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "aside.ini").write_text(ASIDE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=aside.ini", f"--cache-dir={tmp_path / 'cache'}", "script.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
