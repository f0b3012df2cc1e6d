"""When each frame of a video is shown, and which frames a film has at another rate than its own.

Shapes: N frames, T moments.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Matroska's stamps are whole milliseconds, the first one's as well: a frame whose moment has come may begin so much later.
ROUNDING_SEC = 1e-3


class Times:
    """Frame i of a video is shown until `until_sec[i]`, counted from where the first one appears."""

    def __init__(self, until_sec: NDArray[np.float64]):
        """`until_sec` (N,) seconds, ascending."""
        self.until_sec = until_sec

    @classmethod
    def of_stamps(cls, stamps: Sequence[int], last: int, time_base: Fraction, fps_hz: float) -> "Times":
        """Of ascending time stamps (N,) in units of `time_base` seconds; the last frame is shown for `last` of them.

        Where `last` is 0, which is what a file gives that does not say, it is shown as long as the others on average.
        """
        ticks_N = np.asarray(stamps, dtype=np.int64) - stamps[0]
        shown_sec = (ticks_N * (time_base.numerator / time_base.denominator)).astype(np.float64)
        if last <= 0:
            last_sec = float(shown_sec[-1] / (len(shown_sec) - 1)) if len(shown_sec) > 1 else 1 / fps_hz
        else:
            last_sec = last * float(time_base)
        return cls(np.append(shown_sec[1:], shown_sec[-1] + last_sec))

    @classmethod
    def evenly(cls, num_frames: int, fps_hz: float) -> "Times":
        """Of frames at a constant rate."""
        return cls(np.arange(1, num_frames + 1) / fps_hz)

    def __len__(self) -> int:
        return len(self.until_sec)

    @property
    def length_sec(self) -> float:
        """Until when the last frame is shown; 0 without frames."""
        return float(self.until_sec[-1]) if len(self) else 0.0

    def num_frames_at(self, fps_hz: float) -> int:
        """The number of frames of the film shown again at this rate, 1 or more."""
        return max(int(np.ceil((self.length_sec - ROUNDING_SEC) * fps_hz)), min(len(self), 1))

    def shown_at(self, indices: NDArray[np.int64], fps_hz: float) -> NDArray[np.int64]:
        """The frames of the film that stand for frames `indices` of it at this rate: those shown at these moments."""
        found = np.searchsorted(self.until_sec, indices / fps_hz + ROUNDING_SEC, side="right")
        return np.minimum(found, len(self) - 1)


class Timed(Protocol):
    """What frames are chosen from: a decoder, or something that stands for one."""

    @property
    def num_frames(self) -> int:
        """Number of frames that decode."""

    @property
    def times(self) -> Times:
        """When each is shown; asked for only where frames are chosen by time. Raises DecodeError where that is not known."""
