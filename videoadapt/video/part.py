"""A part of a film: from one second to another of it, as frames that begin with the one shown then.

Shapes: N frames, H W pixels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from videoadapt.errors import DecodeError
from videoadapt.video.frames import Changed, Frames
from videoadapt.video.times import ROUNDING_SEC, Times

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

    def overlaps(self, other: "Part") -> bool:
        """Whether two parts of one film share a moment."""
        return self.start_sec < other.end_sec and other.start_sec < self.end_sec

    def problem_in(self, length_sec: float) -> str | None:
        """What keeps this from being a part of a film of this length."""
        if self.start_sec >= length_sec - ROUNDING_SEC:
            return f"start_sec = {self.start_sec:g}: the film ends at {length_sec:.3f} s"
        if length_sec + LATE_SEC < self.end_sec < math.inf:
            return f"end_sec = {self.end_sec:g}: the film ends at {length_sec:.3f} s"
        return None


class FramesOfPart(Changed):
    """Those frames of a film that are shown in a part of it; their times count from its start."""

    def __init__(self, film: Frames, part: Part, name: object):
        """`name` stands in the DecodeError that is raised where the film ends before the part, or its times are not known."""
        super().__init__(film)
        times = film.times
        if problem := part.problem_in(times.length_sec):
            raise DecodeError(f"{name}: {problem}")
        until_N = times.until_sec
        first = int(np.searchsorted(until_N, part.start_sec + ROUNDING_SEC, side="right"))
        stop = int(np.searchsorted(until_N[:-1], part.end_sec - ROUNDING_SEC)) + 1
        self._first, self._num_frames = first, max(stop - first, 1)
        self._part = part

    @property
    def num_frames(self) -> int:
        """See Frames."""
        return self._num_frames

    @property
    def times(self) -> Times:
        """See Frames."""
        until_N = self._frames.times.until_sec[self._first : self._first + self._num_frames]
        return Times(np.minimum(until_N, self._part.end_sec) - self._part.start_sec)

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames."""
        return self._frames.get(np.asarray(indices) + self._first)
