"""Films small enough for a page: a few seconds from the middle of each, decoded from its file, as H.264 in a data URI.

Shapes: T frames, H W pixels.
"""

import base64
import io
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from videoadapt.config.schema import DataConfig
from videoadapt.errors import DecodeError
from videoadapt.processes.worker import Lost, map_in_processes
from videoadapt.runs.build_data import build_frame_source
from videoadapt.system import usable_cores
from videoadapt.video.frames import Frames
from videoadapt.video.part import FilmPart, FramesOfPart, film_or_part

_FRAMES, _FPS_HZ = 24, 8
_LONG_PX = 160
_QUALITY = "30"  # x264's crf: some 10 to 40 kB a film
_DECODED_BYTES = 2**26  # at a time


class Thumbnail(NamedTuple):
    """A small film as a data URI, or why there is none."""

    uri: str = ""
    why_not: str = ""


def thumbnails(data: DataConfig, ids: Sequence[str]) -> list[Thumbnail]:
    """The films that these ids name below `data.root`; of those that cannot be read, moved ones among them, why.

    With `data.workers` in other processes, each film within `data.limit_sec`, as they were tested.
    """
    make = partial(_thumbnail, data.model_copy(update={"cache": "off"}))
    if not data.workers or not ids:
        return [make(name) for name in ids]
    found = {}
    for index, made in map_in_processes(make, ids, min(data.workers, usable_cores(), len(ids)), data.limit_sec):
        found[index] = Thumbnail(why_not=made.reason) if isinstance(made, Lost) else made
    return [found[index] for index in range(len(ids))]


def _thumbnail(data: DataConfig, name: str) -> Thumbnail:
    try:
        film = film_or_part(Path(data.root) / name)
        path, part = film if isinstance(film, FilmPart) else (film, None)
        with closing(build_frame_source(data).open(path)) as frames:
            shown = frames if part is None else FramesOfPart(frames, part, path)
            small = _small(shown)
    except (DecodeError, OSError) as error:
        return Thumbnail(why_not=str(error))
    return Thumbnail(f"data:video/mp4;base64,{base64.b64encode(_encoded(small)).decode()}")


def _middle(film: Frames) -> np.ndarray:
    """Indices (T,) of the frames shown at _FPS_HZ in the middle; spread over all of a film whose times are not known."""
    try:
        times = film.times
    except DecodeError:
        return np.unique(np.linspace(0, film.num_frames - 1, _FRAMES).round().astype(np.int64))
    total = times.num_frames_at(_FPS_HZ)
    shown = min(total, _FRAMES)
    return times.shown_at(np.arange(shown, dtype=np.int64) + (total - shown) // 2, _FPS_HZ)


def _small(film: Frames) -> list[av.VideoFrame]:
    """The frames of the middle, one to each _FPS_HZ-th of a second."""
    scale = min(1.0, _LONG_PX / max(film.height, film.width))
    height, width = (max(2, round(side * scale / 2) * 2) for side in (film.height, film.width))
    indices_T, found, resizer = _middle(film), [], VideoReformatter()  # one for all: each begins with its own tables
    at_once = max(1, _DECODED_BYTES // (3 * film.height * film.width))
    for start in range(0, len(indices_T), at_once):
        for frame_HWC in film.get(indices_T[start : start + at_once]):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            found.append(resizer.reformat(frame, width, height, format="yuv420p", interpolation="AREA"))
    return found


def _encoded(frames: Sequence[av.VideoFrame]) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_FPS_HZ, options={"crf": _QUALITY, "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, _FPS_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()
