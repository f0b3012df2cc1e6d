"""Clips of `motions.py` as H.264 files, encoded in several processes."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import torch

from videoadapt import logger
from videoadapt.log import progress
from videoadapt.rendering.motions import FPS_HZ, draw_states
from videoadapt.rendering.painting import render

NUM_FRAMES = 24


HEIGHT_PX, WIDTH_PX = 72, 96


_FILES_PER_JOB = 16
_RENDERED_AT_ONCE = 4  # videos whose frames stay in a core's cache
_FEWEST_FILES_FOR_PROCESSES = 240  # below, starting processes takes longer than it saves
_MOST_PROCESSES = 16


@dataclass(frozen=True)
class ClipFile:
    """A video to render: its file, its motion, and the seed of everything else in it."""

    path: Path
    motion: str
    seed: int


def render_missing(files: list[ClipFile], title: str) -> None:
    """Render the files that are not there yet, in several processes where there are many, under a progress bar."""
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


def _work(jobs: list[list[ClipFile]], num_files: int) -> Iterator[int]:
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


def _render_files(files: list[ClipFile]) -> int:
    for start in range(0, len(files), _RENDERED_AT_ONCE):
        part = files[start : start + _RENDERED_AT_ONCE]
        seeds_B = torch.tensor([file.seed for file in part])
        states_BTS = draw_states([file.motion for file in part], seeds_B, NUM_FRAMES)
        for file, frames_THWC in zip(part, render(states_BTS, seeds_B, HEIGHT_PX, WIDTH_PX).numpy(), strict=True):
            replace_file(file.path, partial(_encode, frames_THWC=frames_THWC))
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


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it into place: a file that exists is whole."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
