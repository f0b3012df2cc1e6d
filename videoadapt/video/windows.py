"""Windows over one film: parts of it at a fixed distance, and the views of each, from one decode in order.

Shapes: P parts, N test clips, J crops, T frames, H W pixels.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from videoadapt.video.frames import Changed, Frames
from videoadapt.video.part import FramesOfPart, Part
from videoadapt.video.readers import ViewReader
from videoadapt.video.samplers import Indices
from videoadapt.video.times import ROUNDING_SEC, Times

_DECODED_BYTES = 8 * 2**20  # of whole frames at a time; a decoder reads on where the last request ended
_FEWEST_FRAMES = 4  # however large they are
# a longer gap without a wanted frame is left to the decoder, which may seek; 250: x264's key frames
_SKIPPED_FRAMES = 250


def spread_windows(
    start_sec: float, end_sec: float, window_sec: float, every_sec: float, to_the_end: bool = True
) -> list[Part]:
    """Parts of `window_sec`, each `every_sec` after the one before, from `start_sec` on; the last one ends at `end_sec`.

    Not `to_the_end`: all at this distance, and what is left behind the last one is in no part.
    What is shorter than a window is one part. Bounds are whole microseconds: names of parts (#t=1.5,4) say them exactly.
    """
    spare_sec = end_sec - start_sec - window_sec
    steps = max(math.floor((spare_sec + ROUNDING_SEC) / every_sec), 0)
    starts = [start_sec + step * every_sec for step in range(steps + 1)]
    if to_the_end and spare_sec - steps * every_sec > ROUNDING_SEC:
        starts.append(end_sec - window_sec)
    return [Part(round(start, 6), round(min(start + window_sec, end_sec), 6)) for start in starts]


class KnownTimes(Changed):
    """A film whose time stamps are looked at once, for many parts."""

    def __init__(self, film: Frames):
        super().__init__(film)
        self._times: Times | None = None

    @property
    def times(self) -> Times:
        """See Frames."""
        if self._times is None:
            self._times = self._frames.times
        return self._times

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames."""
        return self._frames.get(indices)


def views_of_parts(reader: ViewReader, film: KnownTimes, parts: Sequence[Part], name: object) -> Iterator[Tensor]:
    """Yield uint8 (N, J, 3, T, H, W) for each part in turn: to the bit what `reader` reads of that part alone.

    Every frame is decoded once and cut at once; what is kept are the crops that a later part needs. `film` is open, by
    `reader.open`. Raises DecodeError with `name` for a part that is not in the film.
    """
    chosen_PNT = [frames_of(reader, film, part, name) for part in parts]
    needed_from = np.minimum.accumulate([indices_NT.min() for indices_NT in reversed(chosen_PNT)])[::-1]
    coming = _crops_in_order(reader, film, np.unique(np.stack(chosen_PNT)))
    kept: dict[int, Tensor] = {}
    for indices_NT, first in zip(chosen_PNT, needed_from, strict=True):
        for index in [index for index in kept if index < first]:
            del kept[index]
        while not kept or max(kept) < indices_NT.max():
            index, crops_JCHW = next(coming)
            kept[index] = crops_JCHW
        yield torch.stack([torch.stack([kept[int(i)] for i in clip_T], dim=2) for clip_T in indices_NT])


def frames_of(reader: ViewReader, film: KnownTimes, part: Part, name: object) -> Indices:
    """Which frames of the film the test clips of a part are, (N, T)."""
    of_part = FramesOfPart(film, part, name)
    return reader.chosen(of_part) + of_part.first_frame


def _crops_in_order(reader: ViewReader, film: Frames, wanted_M: Indices) -> Iterator[tuple[int, Tensor]]:
    """Yield (index, crops) of these ascending frames; those between them are read, too, so that no decoder goes back."""
    at_once = max(_FEWEST_FRAMES, _DECODED_BYTES // (3 * film.height * film.width))
    start, first = 0, int(wanted_M[0])
    while start < len(wanted_M):
        if wanted_M[start] - first > _SKIPPED_FRAMES:
            first = int(wanted_M[start])
        stop = int(np.searchsorted(wanted_M, first + at_once))
        frames_NHWC = film.get(np.arange(first, min(first + at_once, wanted_M[-1] + 1)))
        # clones: whole frames are let go before the next ones come
        found = [(int(i), reader.crops(torch.from_numpy(frames_NHWC[i - first])).clone()) for i in wanted_M[start:stop]]
        del frames_NHWC
        yield from found
        start, first = stop, first + at_once
