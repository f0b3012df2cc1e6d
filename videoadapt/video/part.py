"""A part of a film, from one second to another or so many of its frames, as a film of its own.

Shapes: N frames, H W pixels.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from videoadapt.errors import ConfigError, DecodeError, counted
from videoadapt.paths import exists
from videoadapt.video.frames import Changed, Frames
from videoadapt.video.times import ROUNDING_SEC, Times

_NAMED = re.compile(r"(?P<film>.+)#t=(?P<start>\d+(\.\d+)?)?(,(?P<end>\d+(\.\d+)?))?", re.S)
_FRAMES = re.compile(r"(?P<film>.+)#frame=(?P<first>\d+),(?P<stop>\d+|inf)", re.S)
LATE_SEC = 1.0  # that a part may end after its film: people write rounded seconds, of copies that differ a little


class Part(NamedTuple):
    """The seconds of a film from `start_sec`, until before `end_sec`, from where its first frame appears; inf: to its end."""

    start_sec: float = 0.0
    end_sec: float = math.inf

    def __str__(self) -> str:
        """As a URI names it (W3C Media Fragments): #t=1.5,4."""
        end = "" if self.end_sec == math.inf else f",{self.end_sec:.12g}"
        return f"#t={self.start_sec:.12g}{end}"

    @property
    def problem(self) -> str | None:
        """What keeps these two from being a part of any film."""
        if not 0 <= self.start_sec < math.inf:
            return f"start_sec = {self.start_sec:g}: allowed: 0 or more"
        if not self.end_sec > self.start_sec:
            return f"end_sec = {self.end_sec:g}: allowed: above start_sec = {self.start_sec:g}"
        return None

    def overlaps(self, other: "AnyPart") -> bool:
        """Whether two parts of one film share a moment; they may, where one is counted in frames."""
        return _overlap(self, other)

    def problem_in(self, num_frames: int, length_sec: float) -> str | None:
        """What keeps this from being a part of a film of so many frames and this length."""
        if self.start_sec >= length_sec - ROUNDING_SEC:
            return f"start_sec = {self.start_sec:g}: the film ends at {length_sec:.3f} s"
        if length_sec + LATE_SEC < self.end_sec < math.inf:
            return f"end_sec = {self.end_sec:g}: the film ends at {length_sec:.3f} s"
        return None

    def num_frames_in(self, num_frames: int, fps_hz: float) -> int:
        """How many frames this has of a film of so many at a constant rate."""
        return min(num_frames, math.ceil((min(self.end_sec, num_frames / fps_hz) - self.start_sec) * fps_hz))

    def range_in(self, film: Frames) -> tuple[int, int]:
        """The first frame and the number of frames. Raises ValueError for a part that is not in the film."""
        times = film.times
        if problem := self.problem_in(len(times), times.length_sec):
            raise ValueError(problem)
        until_N = times.until_sec
        first = int(np.searchsorted(until_N, self.start_sec + ROUNDING_SEC, side="right"))
        stop = int(np.searchsorted(until_N[:-1], self.end_sec - ROUNDING_SEC)) + 1
        return first, max(stop - first, 1)

    def bounds_sec(self, until_N: NDArray[np.float64]) -> tuple[float, float]:
        """Between which seconds of the film this lies; `until_N`: when each of its frames ends."""
        return self


def part_between(start_sec: float | None, end_sec: float | None) -> Part:
    """The part between two seconds; None: from where the film begins, or to its end. Raises ConfigError where that is none."""
    part = Part(0.0 if start_sec is None else start_sec, math.inf if end_sec is None else end_sec)
    if problem := part.problem:
        raise ConfigError(problem)
    return part


class FramePart(NamedTuple):
    """Frames `first` to `stop` - 1 of a film, counted from 0; inf: to its end. Lists call it an offset and a number."""

    first: int = 0
    stop: float = math.inf

    def __str__(self) -> str:
        """As a part's seconds are written: #frame=12,175; "" from the first frame on, as a film is called by its name."""
        return f"#frame={self.first:.0f},{self.stop:.0f}" if self.first else ""

    @property
    def problem(self) -> str | None:
        """See Part."""
        if self.first < 0:
            return f"offset = {self.first}: allowed: 0 or more"
        return None if self.stop > self.first else f"num_frames = {self.stop - self.first}: allowed: 1 or more"

    def overlaps(self, other: "AnyPart") -> bool:
        """See Part."""
        return _overlap(self, other)

    def problem_in(self, num_frames: int, length_sec: float = math.inf) -> str | None:
        """See Part."""
        if self.first < num_frames and (self.stop <= num_frames or self.stop == math.inf):
            return None
        start = f", after the offset of {self.first:.0f}" if self.first else ""
        return (
            f"num_frames = {self.stop - self.first:.0f}{start}: there are {counted(num_frames, 'frame')}; correct the list, or "
            "extract the frames again"
        )

    def num_frames_in(self, num_frames: int, fps_hz: float = 1.0) -> int:
        """See Part."""
        return int(min(num_frames, self.stop) - self.first)

    def range_in(self, film: Frames) -> tuple[int, int]:
        """See Part."""
        if problem := self.problem_in(film.num_frames):
            raise ValueError(problem)
        return int(self.first), self.num_frames_in(film.num_frames)

    def bounds_sec(self, until_N: NDArray[np.float64]) -> tuple[float, float]:
        """See Part."""
        return float(until_N[int(self.first) - 1]) if self.first else 0.0, math.inf


AnyPart: TypeAlias = Part | FramePart


def _overlap(one: AnyPart, other: AnyPart) -> bool:
    return type(one) is not type(other) or (one[0] < other[1] and other[0] < one[1])


class FilmPart(NamedTuple):
    """A part of a film in a file."""

    path: Path
    part: AnyPart

    def __str__(self) -> str:
        return f"{self.path}{self.part}"


def film_or_part(name: str | Path) -> Path | FilmPart:
    """What a user means by a name: a file, or film.mp4#t=1.5,4 as results write a part (also #t=1.5, #t=,4, #frame=12,175).

    A file whose own name is like that is this file. Raises DecodeError for seconds that are no part of any film.
    """
    if exists(name) or not (found := _NAMED.fullmatch(str(name)) or _FRAMES.fullmatch(str(name))):
        return Path(name)
    part: AnyPart
    if found.re is _FRAMES:
        part = FramePart(int(found["first"]), float(found["stop"]))
    elif found["start"] is found["end"] is None:
        return Path(name)
    else:
        part = Part(float(found["start"] or 0), float(found["end"] or math.inf))
    if part.problem:
        raise DecodeError(f"{name}: {part.problem}")
    return FilmPart(Path(found["film"]), part)


def stem_of(name: str | Path) -> str:
    """What results of a film, or of a part of it, are called: film of film.mp4, film#t=1.5,4 of film.mp4#t=1.5,4."""
    try:
        found = film_or_part(name)
    except DecodeError:  # which reading it says
        return Path(name).stem
    return found.path.stem + str(name).removeprefix(str(found.path)) if isinstance(found, FilmPart) else found.stem


class FramesOfPart(Changed):
    """Those frames of a film that are in a part of it; their times count from its start."""

    def __init__(self, film: Frames, part: AnyPart, name: object):
        """`name` stands in the DecodeError that is raised where the film ends before the part, or its times are not known."""
        super().__init__(film)
        try:
            self._first, self._num_frames = part.range_in(film)
        except ValueError as error:
            raise DecodeError(f"{name}: {error}") from error
        self._part = part

    @property
    def num_frames(self) -> int:
        """See Frames."""
        return self._num_frames

    @property
    def first_frame(self) -> int:
        """Which frame of the film is the part's first one."""
        return self._first

    @property
    def times(self) -> Times:
        """See Frames."""
        until_N = self._frames.times.until_sec
        start_sec, end_sec = self._part.bounds_sec(until_N)
        return Times(np.minimum(until_N[self._first : self._first + self._num_frames], end_sec) - start_sec)

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames."""
        return self._frames.get(np.asarray(indices) + self._first)
