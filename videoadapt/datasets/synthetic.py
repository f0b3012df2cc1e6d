"""Clips of `motions.py` as real H.264 files: a data set that every machine can make for itself."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch

from videoadapt.errors import ConfigError, DataListError, did_you_mean
from videoadapt.log import logger, progress
from videoadapt.motions import FPS_HZ, MOTIONS, RENDERER_VERSION, draw_states, render
from videoadapt.registry import DATASETS
from videoadapt.video_rows import VideoRows

NUM_FRAMES = 24
HEIGHT_PX, WIDTH_PX = 72, 96
_FILES_PER_JOB = 16
_RENDERED_AT_ONCE = 4  # videos whose frames stay in a core's cache
_FEWEST_FILES_FOR_PROCESSES = 240  # below, starting processes takes longer than it saves
_MOST_PROCESSES = 16


@dataclass(frozen=True)
class _File:
    path: Path
    motion: str
    seed: int


@DATASETS.register
class Synthetic:
    """Procedural motions, rendered on first use; only time tells the classes apart (see `motions.py`).

    The vocabularies `quickstart` and `trunk` share no motions, `table` has some of both; no two share seeds, nor do the splits.
    Raises ConfigError for a vocabulary or a number of videos that cannot be.
    """

    def __init__(
        self,
        *,
        vocabulary: Literal["quickstart", "trunk", "table"],
        train_per_class: int,
        val_per_class: int,
        test_per_class: int,
        seed: int = 0,
    ):
        if vocabulary not in MOTIONS:
            raise ConfigError(f"data.dataset.vocabulary = {vocabulary!r}: {did_you_mean(vocabulary, MOTIONS)}")
        self._per_class = {"train": train_per_class, "val": val_per_class, "test": test_per_class}
        for split, number in self._per_class.items():
            if not 0 <= number <= 9999:
                raise ConfigError(f"data.dataset.{split}_per_class = {number}: allowed: 0 to 9999")
        self._vocabulary = vocabulary
        self._seed = seed
        self.class_names: list[str] | None = list(MOTIONS[vocabulary])

    def load(self, source: str, root: Path) -> VideoRows:
        """Return the videos of one split, rendering into `root` what is not there yet.

        Beside the clips stand `recipe.json`, and `classes.txt` and `<split>.csv`, which a video_list can read. Raises
        DataListError for another source, for an empty split, and where `root` holds another recipe or other files.
        """
        if source not in self._per_class:
            raise DataListError(
                f"{source}: the synthetic data set has no such split; {did_you_mean(source, self._per_class)}"
            )
        if not self._per_class[source]:
            raise DataListError(f"{source}: data.dataset.{source}_per_class is 0; set it to 1 or more")
        _claim(root, self._recipe())
        rows: list[tuple[str, int, int]] = []
        files = []
        for label, motion in enumerate(MOTIONS[self._vocabulary]):
            for index in range(self._per_class[source]):
                name = f"{source}/{motion}/{motion}_{index + 1:04d}.mp4"
                rows.append((name, label, len(rows) + 1))
                files.append(_File(root / name, motion, self._clip_seed(source, motion, index)))
        _render_missing(files, f"rendering {source} videos")
        _write_text(root / "classes.txt", "".join(f"{motion}\n" for motion in MOTIONS[self._vocabulary]))
        _write_text(root / f"{source}.csv", "".join(f"{name} {label}\n" for name, label, _ in rows))
        return VideoRows(root, rows)

    def _recipe(self) -> dict[str, Any]:
        return {
            "renderer_version": RENDERER_VERSION,
            "vocabulary": self._vocabulary,
            **{f"{split}_per_class": number for split, number in self._per_class.items()},
            "seed": self._seed,
            "num_frames": NUM_FRAMES,
            "size_px": [WIDTH_PX, HEIGHT_PX],
            "fps_hz": FPS_HZ,
        }

    def _clip_seed(self, split: str, motion: str, index: int) -> int:
        key = f"{self._seed}/{self._vocabulary}/{split}/{motion}/{index}"
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)


def _claim(root: Path, recipe: dict[str, Any]) -> None:
    """Write the recipe into an empty folder, or check that the folder was made by the same one."""
    path = root / "recipe.json"
    if not path.exists():
        if root.exists() and any(root.iterdir()):
            raise DataListError(
                f"data.root = {root}: holds other files; choose a folder that is empty or not there yet"
            )
        root.mkdir(parents=True, exist_ok=True)
        _write_text(path, json.dumps(recipe, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataListError(f"{path}: is not a recipe: {error}; delete {root} or choose another data.root") from error
    differing = [key for key in {**found, **recipe} if found.get(key) != recipe.get(key)]
    if differing:
        changes = "; ".join(f"{key} is {found.get(key)!r} there, {recipe.get(key)!r} now" for key in differing)
        raise DataListError(
            f"data.root = {root}: was rendered by another recipe ({changes}); delete it or choose another data.root"
        )


def _render_missing(files: list[_File], title: str) -> None:
    missing = [file for file in files if not file.path.exists()]
    if not missing:
        return
    for folder in {file.path.parent for file in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    logger.info("%s: %d", title, len(missing))
    jobs = [missing[start : start + _FILES_PER_JOB] for start in range(0, len(missing), _FILES_PER_JOB)]
    with progress(title, len(missing), "files") as line:
        for count in _work(jobs, len(missing)):
            line.advance(count=count)


def _work(jobs: list[list[_File]], num_files: int) -> Iterator[int]:
    """Do the jobs, in other processes when there are many, and yield the number of files of each as it ends."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    num_processes = min(cores, _MOST_PROCESSES, len(jobs))
    if num_files < _FEWEST_FILES_FOR_PROCESSES or num_processes == 1:
        yield from map(_render_files, jobs)
        return
    # spawn: a fork of a process that already runs threads (torch, CUDA, a progress bar) can hang
    with ProcessPoolExecutor(num_processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for future in as_completed([pool.submit(_render_files, job) for job in jobs]):
            yield future.result()


def _render_files(files: list[_File]) -> int:
    for start in range(0, len(files), _RENDERED_AT_ONCE):
        part = files[start : start + _RENDERED_AT_ONCE]
        seeds_B = torch.tensor([file.seed for file in part])
        states_BTS = draw_states([file.motion for file in part], seeds_B, NUM_FRAMES)
        for file, frames_THWC in zip(part, render(states_BTS, seeds_B, HEIGHT_PX, WIDTH_PX).numpy(), strict=True):
            _replace(file.path, partial(_encode, frames_THWC=frames_THWC))
    return len(files)


def _encode(path: Path, frames_THWC: np.ndarray) -> None:
    """Write an H.264 mp4 with closed groups of 12 pictures (every decoder seeks right in it), none begun by a jump."""
    # mbtree: what x264 makes of it differs from call to call where it uses AVX-512
    options = {"crf": "18", "preset": "veryfast", "threads": "1", "sc_threshold": "0", "mbtree": "0"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS_HZ, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH_PX, HEIGHT_PX, "yuv420p", 12
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


def _write_text(path: Path, text: str) -> None:
    _replace(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it into place: a file that exists is whole."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
