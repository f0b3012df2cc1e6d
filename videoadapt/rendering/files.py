"""Clips of `motions.py` as H.264 files, encoded in several processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch

from videoadapt import logger
from videoadapt.errors import VideoAdaptError
from videoadapt.files import partial_of, remove_abandoned
from videoadapt.log import progress
from videoadapt.processes.worker import Lost, map_in_processes
from videoadapt.rendering.motions import FPS_HZ, draw_states
from videoadapt.rendering.painting import render
from videoadapt.system import usable_cores

NUM_FRAMES = 24


HEIGHT_PX, WIDTH_PX = 72, 96


_FILES_PER_JOB = 16
_RENDERED_AT_ONCE = 4  # videos whose frames stay in a core's cache
_FEWEST_FILES_FOR_PROCESSES = 240  # below, starting processes takes longer than it saves
_MOST_PROCESSES = 16
_LIMIT_SEC = 300.0  # for a job, which takes a second or two


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
        remove_abandoned(folder)
    logger.info("%s: %d", title, len(missing))
    jobs = [missing[start : start + _FILES_PER_JOB] for start in range(0, len(missing), _FILES_PER_JOB)]
    with progress(title, len(missing), "files") as line:
        for count in _work(jobs, len(missing)):
            line.advance(count=count)


def _work(jobs: list[list[ClipFile]], num_files: int) -> Iterator[int]:
    """Do the jobs, in other processes when there are many, and yield the number of files of each as it ends."""
    num_processes = min(usable_cores(), _MOST_PROCESSES, len(jobs))
    if num_files < _FEWEST_FILES_FOR_PROCESSES or num_processes == 1:
        yield from map(_render_files, jobs)
        return
    for number, done in map_in_processes(_render_files_alone, jobs, num_processes, _LIMIT_SEC):
        if isinstance(done, OSError):
            raise done
        if isinstance(done, Lost):
            raise VideoAdaptError(
                f"{jobs[number][0].path}: was not rendered: {done.reason}; run the same command again"
            )
        yield done


def _render_files_alone(files: list[ClipFile]) -> int | OSError:
    """In a process that shares the cores with others: what the disk refuses goes on in the parent."""
    torch.set_num_threads(1)
    try:
        return _render_files(files)
    except OSError as error:
        return OSError(error.errno, error.strerror, error.filename)  # FFmpeg's own do not travel


def _render_files(files: list[ClipFile]) -> int:
    for start in range(0, len(files), _RENDERED_AT_ONCE):
        part = files[start : start + _RENDERED_AT_ONCE]
        seeds_B = torch.tensor([file.seed for file in part])
        states_BTS = draw_states([file.motion for file in part], seeds_B, NUM_FRAMES)
        for file, frames_THWC in zip(part, render(states_BTS, seeds_B, HEIGHT_PX, WIDTH_PX).numpy(), strict=True):
            with partial_of(file.path) as unfinished:  # not synced: a lost file is rendered again
                _encode(unfinished, frames_THWC)
                unfinished.replace(file.path)
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
