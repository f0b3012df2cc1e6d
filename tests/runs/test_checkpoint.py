"""A checkpoint is there whole or not at all, and what is damaged is never loaded."""

import errno
import os
import random
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from videoadapt.errors import CheckpointError
from videoadapt.files import write_atomically
from videoadapt.models.loading import save_backbone
from videoadapt.runs.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint, save_newest
from videoadapt.runs.folder import newest_run
from videoadapt.weights.files import write_tensors


@contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """The operating system ends a write in the middle of a larger file, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(output: Path) -> list[str]:
    return [path.name for path in list_checkpoints(output)]


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    path, state = tmp_path / "x.pt", {"model": {"w": torch.randn(500)}, "step": 7}
    save_checkpoint(path, state)
    content, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:  # padding between the records
            assert torch.equal(loaded["model"]["w"], state["model"]["w"]) and loaded["step"] == 7
    assert refused > 200


def test_what_was_passed_over_does_not_crowd_out_the_new(tmp_path: Path) -> None:
    for step in (5, 9, 10):
        save_checkpoint(tmp_path / "checkpoints" / f"step_{step:08d}.pt", {"step": step})
    save_newest(tmp_path, {"step": 6}, keep=2)
    assert names(tmp_path) == ["step_00000006.pt", "step_00000005.pt"]


def test_old_ones_stay_until_the_new_one_is_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_newest(tmp_path, {"step": 1}, keep=1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"step_00000002.pt: cannot be written.*step_00000001.pt is intact"):
        save_newest(tmp_path, {"step": 2}, keep=1)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000001.pt"]


def test_a_cut_write_says_how_much_it_takes(tmp_path: Path) -> None:
    save_newest(tmp_path, {"step": 1}, keep=1)
    expected = r"File too large: it takes about 4\.0 MB, .*step_00000001.pt is intact"
    with no_file_beyond(2**20), pytest.raises(CheckpointError, match=expected):
        save_newest(tmp_path, {"step": 2, "model": {"w": torch.zeros(10**6)}}, keep=1)
    assert names(tmp_path) == ["step_00000001.pt"] and len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_what_a_run_leaves_tells_of_a_full_disk(tmp_path: Path) -> None:
    """As OSError, which `prepare` explains: torch and safetensors hide it behind errors of their own."""
    layer = nn.Linear(1000, 1000)
    with no_file_beyond(2**20):
        for write in (
            lambda: save_backbone(layer, tmp_path / "trunk.safetensors", {}),
            lambda: write_tensors(tmp_path / "pretrained.pth", layer.state_dict(), {}, as_torch=True),
            lambda: write_tensors(tmp_path / "merged.safetensors", layer.state_dict(), {}),
        ):
            with pytest.raises(OSError, match="File too large"):
                write()
    assert not (tmp_path / "trunk.safetensors").exists()


@pytest.mark.parametrize("tensors", [1, 40])
def test_a_disk_that_fills_anywhere_in_a_file(tensors: int, small_disk: Path) -> None:
    save_newest(small_disk, {"step": 1, "model": {}}, keep=1)
    state = {"step": 2, "model": {str(number): torch.randn(100_000 // tensors) for number in range(tensors)}}
    ballast, whole = small_disk / "ballast", 4 * 100_000
    for room in range(4096, whole, whole // 25):
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(bytes(free - room))
        with pytest.raises(CheckpointError, match=r"step_00000002\.pt: .*No space left.*step_00000001.pt is intact"):
            save_newest(small_disk, state, keep=1)
        for name, as_torch in (("weights.pth", True), ("weights.safetensors", False)):
            write = partial(write_tensors, tensors=state["model"], metadata={}, as_torch=as_torch)
            with pytest.raises(OSError, match=rf"No space left on device: '.*/{name}'"):
                write_atomically(small_disk / name, write)
        assert names(small_disk) == ["step_00000001.pt"] and not list(small_disk.rglob(".*"))
        ballast.unlink()


def test_a_run_whose_checkpoints_change_is_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training deletes its older checkpoints: between the look for them and the look at them `demo` failed."""
    for number, name in enumerate(("trains/checkpoints/step_00000001.pt", "ended/checkpoints/step_00000009.pt")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (number, number))
    assert newest_run(tmp_path) == tmp_path / "ended"
    (tmp_path / "link" / "checkpoints").mkdir(parents=True)
    (tmp_path / "link" / "checkpoints" / "step_00000001.pt").symlink_to("nothing")
    look = Path.glob

    def changing(folder: Path, pattern: str) -> Iterator[Path]:
        monkeypatch.setattr(Path, "glob", look)
        found = list(look(folder, pattern))
        save_newest(tmp_path / "trains", {"step": 2}, keep=1)
        return iter(found)

    monkeypatch.setattr(Path, "glob", changing)
    assert newest_run(tmp_path) == tmp_path / "trains"
