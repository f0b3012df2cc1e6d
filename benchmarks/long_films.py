"""Films as those of Kinetics are: ten seconds of 340 x 256 pixels, H.264 at 0.6 Mbit/s, few key frames."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import av
import torch

from videoadapt.data.structures import Video
from videoadapt.errors import DataListError, DecodeError
from videoadapt.preparing.encoding import Encoded, Settings, write_h264
from videoadapt.processes.worker import Lost, map_in_processes
from videoadapt.rendering.motions import MOTIONS, draw_states
from videoadapt.rendering.painting import render

NUM_FRAMES, FPS_HZ, HEIGHT_PX, WIDTH_PX = 300, 30, 256, 340
_SUFFIXES = (".mp4", ".mkv", ".avi", ".webm")


def films_in(folder: Path) -> list[Video]:
    """The video files of a folder, all of the class 0. Raises DataListError where there are none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise DataListError(f"{folder}: no folder with video files ({', '.join(_SUFFIXES)})")
    return [Video(path.name, path, 0) for path in paths]


def make_films(folder: Path, number: int, jobs: int) -> list[Video]:
    """Render films that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.mp4" for index in range(number)]
    missing = [path for path in paths if not path.exists()]
    for index, done in map_in_processes(make_film, missing, jobs, 600.0):
        if isinstance(done, Lost):
            raise RuntimeError(f"{missing[index]}: {done.reason}")
    return films_in(folder)


def reencoded(videos: Sequence[Video], folder: Path, jobs: int) -> list[Video]:
    """What `prepare_data.py reencode` makes of videos, in another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    work = [(video.path, folder / video.path.with_suffix(".mp4").name) for video in videos]
    for index, done in map_in_processes(partial(write_h264, settings=Settings()), work, jobs, 600.0):
        if not isinstance(done, Encoded):
            raise DecodeError(f"{work[index][0]}: {done}")
    return films_in(folder)


def make_film(path: Path) -> None:
    """Render one film; its name, a number, says what is seen. Grain, drawn anew in each frame, makes it as large as others."""
    torch.set_num_threads(1)
    seeds_B = torch.tensor([int(path.stem)])
    names = [name for vocabulary in MOTIONS.values() for name in vocabulary]
    states_1TS = draw_states([names[int(path.stem) % len(names)]], seeds_B, NUM_FRAMES)
    generator, unfinished = torch.Generator().manual_seed(int(path.stem)), path.with_suffix(".partial")
    with av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS_HZ)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH_PX, HEIGHT_PX, "yuv420p", 600_000
        for states_T1S in states_1TS[0].split(30):
            for frame_HWC in render(states_T1S[None], seeds_B, HEIGHT_PX, WIDTH_PX)[0]:
                grain_HW1 = torch.randn(HEIGHT_PX, WIDTH_PX, 1, generator=generator).mul_(6)
                grainy_HWC = (frame_HWC + grain_HW1).clamp_(0, 255).to(torch.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grainy_HWC.numpy(), format="rgb24")))
        container.mux(stream.encode())
    unfinished.replace(path)
