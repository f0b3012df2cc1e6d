"""Memory that does not suffice is one line with the keys to change, its cause is in run.log, and the outcome is `failed`."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.toy_runs import REPOSITORY, environment, toy_config, write_config
from videoadapt.cli._command import command
from videoadapt.errors import NotEnoughMemory, asked_for, is_of_memory
from videoadapt.runs.memory import memory_explained

# a command that may take so many bytes more than it has once everything is imported
LIMITED = """
import resource, sys
import torch
from videoadapt.training import execution
from videoadapt.cli import train
import fvcore.nn, matplotlib.pyplot
torch.set_num_threads(1)
torch.ones(256, 256) @ torch.ones(256, 256)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(train.main(sys.argv[2:]))
"""
WIDE = {"width": 512, "num_heads": 8, "depth": 1, "patch_px": 8}
LONG = {"num_frames": 16, "crop_px": 96, "sampling": {"name": "dense", "stride_frames": 1}}


def run_limited(megabytes: int, config: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-c", LIMITED, str(megabytes * 2**20), "--cfg", str(config), *overrides]
    return subprocess.run(
        arguments,
        cwd=REPOSITORY,
        env=environment() | {"MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("doing", "overrides", "keys"),
    [
        ("building the model", ["model.backbone.width=8192"], "choose a smaller model.backbone"),
        (
            "training",
            ["train.batch_size=48"],
            "raise train.accumulate, which cuts a batch into as many parts, lower train.b",
        ),
        ("validation", ["data.val=train", "test.batch_size=192", "train.validate_clips=4"], "lower test.batch_size"),
        ("testing", ["test.clips=200", "test.crops=1", "test.batch_size=200"], "lower test.batch_size"),
    ],
)
def test_what_needs_too_much(doing: str, overrides: list[str], keys: str, clips: Path, tmp_path: Path) -> None:
    values = toy_config(tmp_path / "run", clips, train={"epochs": 1, "batch_size": 4}, test={"clips": 1, "crops": 1})
    values["model"]["backbone"] |= WIDE
    values["data"] |= {**LONG, "first_per_class": 6}
    # training four clips takes about 500 MB, and what each of the overrides asks for more than 1400
    process = run_limited(1000, write_config(tmp_path / "c.yaml", values), *overrides)
    assert process.returncode == 2, process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith(f"error: {doing}: memory does not suffice (for another ") and keys in last
    assert "Traceback" not in process.stderr
    outcome = json.loads((tmp_path / "run" / "outcome.json").read_text())
    assert (outcome["outcome"], outcome["error"]) == ("failed", "NotEnoughMemory") and outcome["message"] in last
    log = (tmp_path / "run" / "run.log").read_text()
    assert "Traceback" in log and "can't allocate memory" in log


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139 GiB"
        ),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_errors_of_memory_in_their_words(error: Exception) -> None:
    with pytest.raises(NotEnoughMemory) as said, memory_explained("training", "do this"):
        raise error
    assert (
        str(said.value) == f"training: memory does not suffice{asked_for(error)}; do this"
        and said.value.__cause__ is error
    )


def test_a_command_that_is_no_run_says_it_in_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    @command(stopped="stopped")
    def main() -> int:
        return len(torch.empty(2**50, dtype=torch.uint8))

    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("error: memory does not suffice (for another 1.13e+06 GB); ") and said.count("\n") == 1


def test_how_much_was_asked_for() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_of_memory(error.value) and asked_for(error.value) == " (for another 1.13e+06 GB)"
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**31, 2**31, 2**31)
    assert is_of_memory(error.value)
    assert asked_for(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0")) == (
        " (for another 20.00 MiB on the GPU)"
    )
    assert asked_for(MemoryError()) == ""


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(errno.ENOSPC, "No space left"), NotEnoughMemory("x")]
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as same, memory_explained("training", "do this"):
        raise error
    assert same.value is error
