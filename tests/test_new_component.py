"""Adding is writing one file: an adapter, a decoder, a sampler and a logger in a copy of the tree train, with no other edit."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy_runs import copy_tree, environment, records, toy_config, write_config

ADAPTER = '''
"""BitFit: the biases of every block train."""

from collections.abc import Iterator

from torch import nn

from videoadapt.models.adapters import Adapter
from videoadapt.models.backbone import Backbone
from videoadapt.registry import ADAPTERS


@ADAPTERS.register
class BlockBiases(Adapter):
    def __init__(self, *, first: int = 0):
        self.first = first

    def attach(self, backbone: Backbone) -> None:
        assert backbone.depth > self.first

    def trainable(self, backbone: Backbone) -> Iterator[nn.Parameter]:
        yield from (p for name, p in backbone.named_parameters() if name.endswith("bias"))
'''
DECODER = '''
"""PyAV, with every frame upside down."""

from videoadapt.video.decoders.pyav import PyAV as Parent
from videoadapt.registry import DECODERS


@DECODERS.register
class Flipped(Parent):
    def __init__(self, path, /, *, threads: int = 1):
        super().__init__(path, threads=threads)

    def get(self, indices):
        return super().get(indices)[:, ::-1].copy()
'''
SAMPLER = '''
"""The first frames of a video, one after the other."""

import numpy as np

from videoadapt.registry import SAMPLERS
from videoadapt.video.samplers import Indices, Sampler


@SAMPLERS.register
class Opening(Sampler):
    def __init__(self, *, skip: int = 0):
        self.skip = skip

    def train_indices(self, num_video_frames: int, num_frames: int, rng: np.random.Generator) -> Indices:
        return np.minimum(self.skip + np.arange(num_frames), num_video_frames - 1)

    def test_indices(self, num_video_frames: int, num_frames: int, num_clips: int) -> Indices:
        return np.stack([self.train_indices(num_video_frames, num_frames, np.random.default_rng(0))] * num_clips)
'''

LOGGER = '''
"""Lines of text."""

from videoadapt.registry import LOGGERS
from videoadapt.runs.loggers import Logger


@LOGGERS.register
class Lines(Logger):
    def __init__(self, *, sign: str = "="):
        self.sign = sign

    def begin(self, run):
        self.path = run.folder / "lines"
        return "lines"

    def add(self, records):
        with self.path.open("a") as file:
            for kind, step, values in records:
                file.write(f"{kind} {step}: " + "".join(f"{key}{self.sign}{x} " for key, x in values.items()) + "\\n")

    def end(self, outcome):
        self.add([(outcome.outcome, 0, {})])
'''


@pytest.mark.slow
def test_one_file_and_one_yaml(tmp_path: Path) -> None:
    tree = tmp_path / "copy"
    copy_tree(tree)
    (tree / "videoadapt/models/adapters/block_biases.py").write_text(ADAPTER)
    (tree / "videoadapt/video/decoders/flipped.py").write_text(DECODER)
    (tree / "videoadapt/video/samplers/opening.py").write_text(SAMPLER)
    (tree / "videoadapt/runs/loggers/lines.py").write_text(LOGGER)
    config = toy_config(tmp_path / "out", tmp_path / "clips", train={"epochs": 1, "batch_size": 24})
    config["model"]["adapter"] = {"name": "block_biases", "first": 1}
    config["data"]["decoder"] = {"name": "flipped", "threads": 1}
    config["data"]["sampling"] = {"name": "opening", "skip": 2}
    config["train"]["loggers"] = [{"name": "lines", "sign": ":"}]
    path = write_config(tree / "configs/new.yaml", config)
    command = [sys.executable, "tools/run_net.py", "--cfg", str(path)]
    done = subprocess.run(
        command, cwd=tree, env={**environment(), "PYTHONPATH": str(tree)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(records(tmp_path / "out")) == 2
    lines = (tmp_path / "out/lines").read_text().splitlines()
    assert lines[1].startswith("train 2: lr:") and lines[2].startswith("test 2: ") and lines[3:] == ["finished 0: "]
    trained = [line for line in (tmp_path / "out/run.log").read_text().splitlines() if "yes" in line]
    assert any("backbone" in line for line in trained), trained
    config["model"]["adapter"] = {"name": "block_biases", "frist": 1}
    done = subprocess.run(
        [*command[:3], str(write_config(path, config))], cwd=tree, env={**environment(), "PYTHONPATH": str(tree)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "did you mean 'first'?" in done.stderr
