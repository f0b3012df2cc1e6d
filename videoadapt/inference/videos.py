"""What a prediction is made of: a video file, or frames that are in memory already, and the views of either.

Shapes: N frames, H W pixels.
"""

import inspect
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeAlias, TypedDict, TypeVar, Unpack

import numpy as np
from torch import Tensor

from videoadapt import logger
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError, DecodeError, counted
from videoadapt.inference.long_films import OtherLengths
from videoadapt.runs.build_data import build_view_reader
from videoadapt.runs.rates import OtherRates
from videoadapt.video.files import why_no_video
from videoadapt.video.part import AnyPart, Part, film_or_part, part_between
from videoadapt.video.times import Times

VideoInput: TypeAlias = str | os.PathLike[str] | np.ndarray | Tensor
"""The path of a video file, or of a part of it (film.mp4#t=1.5,4), or all its frames: uint8 (N, H, W, 3), RGB.

Of a model whose clips are one frame: the path of a picture, or uint8 (H, W, 3)."""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

DAMAGED = "%s: %d of the frames that were read have damage, which the decoder conceals"
_EXPECTED = "expected the frames of one video: uint8, from 0 to 255, (N, H, W, 3): frame, row, column, RGB"


class FramesInMemory:
    """Decoded frames where a decoder would stand, `fps_hz` of them a second."""

    def __init__(self, frames_NHWC: np.ndarray, fps_hz: float | None = None):
        self._frames_NHWC, self.fps_hz = frames_NHWC, fps_hz
        self.num_frames, self.height, self.width, _ = frames_NHWC.shape
        self.damaged = None  # whoever decoded them knows

    def __str__(self) -> str:
        """In place of a file's name."""
        return f"the {counted(self.num_frames, 'frame')} given"

    @property
    def times(self) -> Times:
        """When each is shown. Raises ConfigError where their rate was not said."""
        if self.fps_hz is None:
            raise ConfigError("fps_hz: this model looks at videos by time; say how many of these frames make a second")
        return Times.evenly(self.num_frames, self.fps_hz)

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the frames at `indices`: uint8 (N, H, W, 3), contiguous."""
        return np.ascontiguousarray(self._frames_NHWC[np.asarray(indices)])

    def close(self) -> None:
        """Nothing is open."""


class Asked(NamedTuple):
    """What is to be looked at: a file or frames, all of it or a part."""

    film: Path | FramesInMemory
    part: AnyPart | None = None

    def __str__(self) -> str:
        return f"{self.film}{self.part or ''}"


class PartOfVideo(TypedDict, total=False):
    """The keywords with which every question says which part of a video it is about; without them, all of it.

    `start_sec` and `end_sec` bound it, either of which may be left to the film; `fps_hz` is the rate of frames in memory, and
    not of a file, which has its own.
    """

    fps_hz: float | None
    start_sec: float | None
    end_sec: float | None


def shows_the_part(method: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Let help() and editors name the keywords of PartOfVideo, where a method takes `**part`."""
    signature = inspect.signature(method)
    *own, _ = signature.parameters.values()
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in PartOfVideo.__annotations__.items()
    ]
    method.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
    return method


def _rate_and_part(
    fps_hz: float | None = None, start_sec: float | None = None, end_sec: float | None = None
) -> tuple[float | None, Part | None]:
    """What PartOfVideo says; None: all of the video. Raises ConfigError for seconds that are no part, and for no rate."""
    part = None if start_sec is None and end_sec is None else part_between(start_sec, end_sec)
    if fps_hz is not None and not 0 < fps_hz < math.inf:
        raise ConfigError(f"fps_hz = {fps_hz}: allowed: above 0")
    return fps_hz, part


def as_video(
    video: object, argument: str = "video", *, pictures: bool = False, **keywords: Unpack[PartOfVideo]
) -> Asked:
    """Sort out what a user gave for one video.

    `pictures`: one picture, (H, W, 3), is a video too.
    Raises TypeError for another type, ConfigError for frames of another shape or data type, or a rate that is none, and for a
    part of what is named as a part already, and DecodeError for a name whose seconds are no part.
    """
    fps_hz, part = _rate_and_part(**keywords)
    if isinstance(video, str | os.PathLike):
        film, named = film_and_part(Path(video))
        if named is not None and part is not None:
            raise ConfigError(
                f"{argument} = {film}{named}: its name says which part, and start_sec or end_sec too; give one"
            )
        return Asked(film, named or part)
    if isinstance(video, Tensor):
        video = video.numpy(force=True)
    if not isinstance(video, np.ndarray):
        raise TypeError(
            f"{argument}: {type(video).__name__} is neither a file (str or Path) nor frames (an array or a tensor); several "
            "videos are a list of these, and several frames one array: numpy.stack(frames)"
        )
    problems = []
    expected = f"{_EXPECTED}{', or one picture, (H, W, 3)' * pictures}"
    if video.dtype != np.uint8:
        problems.append(f"{argument}: frames of type {video.dtype}; {expected}")
    if pictures and video.ndim == 3:
        video = video[None]
    if video.ndim != 4 or video.shape[3] != 3 or not video.size:
        problems.append(f"{argument}: frames of shape {video.shape}; {expected}")
    elif pictures and len(video) > 1:
        problems.append(
            f"{argument}: {len(video)} frames; this model looks at one picture, and several are a list: list(frames)"
        )
    if problems:
        raise ConfigError(problems)
    return Asked(FramesInMemory(video, fps_hz), part)


def film_and_part(name: str | Path) -> tuple[Path, AnyPart | None]:
    """The film that a name means, and the part of it, None for all. Raises DecodeError for seconds that are no part."""
    named = film_or_part(name)
    return (named, None) if isinstance(named, Path) else (named.path, named.part)


def as_videos(
    videos: Iterable[object], folders: bool = False, *, pictures: bool = False, **keywords: Unpack[PartOfVideo]
) -> list[Asked]:
    """Sort out several videos. Raises DecodeError naming every file that cannot be opened, before any is decoded.

    `folders`: a video is a folder of frames to the decoder, and no file. `pictures`: as of `as_video`.
    """
    _rate_and_part(**keywords)  # wrong of no video too
    found = [as_video(video, f"video[{number}]", pictures=pictures, **keywords) for number, video in enumerate(videos)]
    reasons = {film: why_no_video(film, folders) for film, _ in found if isinstance(film, Path)}
    if problems := [f"{path}: {reason}" for path, reason in reasons.items() if reason]:
        raise DecodeError("\n".join(problems))
    return found


class AskedReader:
    """Reads the test views of the run and says how many of their frames are damaged; notes the video's rate.

    A cache is for those who come to a video in every epoch. It can be pickled, as a function inside another cannot.
    """

    def __init__(self, config: Config, other: OtherRates):
        data = config.data.model_copy(update={"cache": "off"})
        self._reader = build_view_reader(data, config.test.clips, config.test.crops)
        self._other, self._lengths = other, OtherLengths(config)

    def __call__(self, video: Asked) -> tuple[Tensor, int | None]:
        """Views, and damaged frames; None where the decoder does not tell."""
        views_NJCTHW, notes = self._reader.with_notes(*video)
        self._other.note(notes.fps_hz)
        self._lengths.note(video, notes.fps_hz, notes.num_frames)
        if notes.damaged_frames:
            logger.warning(DAMAGED, video, notes.damaged_frames)
        return views_NJCTHW, notes.damaged_frames
