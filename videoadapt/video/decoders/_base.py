"""What every decoder offers, and `open_video`, the one function through which the rest of the package reads videos.

Shapes: N frames, H W pixels.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Self, SupportsIndex

import numpy as np

from videoadapt import logger
from videoadapt.errors import ConfigError, DecodeError, check_path, counted
from videoadapt.registry import DECODERS
from videoadapt.video.decoders._stream import StreamInfo
from videoadapt.video.times import Times

FALLBACK = "pyav"
MOST_THREADS = 64  # of one decoder: each takes memory for frames of its own
ITERATED_FRAMES = 32  # that a loop over all frames decodes at a time

_announced: set[str] = set()


class CannotRead(DecodeError):
    """A decoder declares that it does not read this kind of file exactly; `reason` goes without the file's name."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class Decoder(ABC):
    """Frames by index, in the order in which the best video stream of `path` plays, upright as its display matrix says.

    A sequence of frames, uint8 RGB: `len(video)`, `video[0]`, `video[-1]`, `video[10:20:2]`, `for frame in video`.
    """

    reads_folders = False  # True: `path` is a folder of pictures, and no file
    reads_pictures = False  # True: frames are files of pictures, read by Pillow

    def __init__(self, path: Path, info: StreamInfo):
        turned = info.orientation.quarter_turns % 2 == 1
        self.path = path
        self.fps_hz: float | None = info.fps_hz
        self.height, self.width = (info.width, info.height) if turned else (info.height, info.width)
        self.rotation = -info.orientation.quarter_turns % 4 * 90  # degrees clockwise, already applied
        self.mirrored = info.orientation.mirrored  # left for right, after that, already applied
        self._info = info
        self._counted = info.num_frames
        self._after_block = False

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Number of frames that decode, whatever the header says. Raises DecodeError when the file is damaged."""

    @property
    def damaged(self) -> Set[int] | None:
        """Of the frames given so far, those that the decoder marked as damaged; None where it cannot tell."""
        return None

    @property
    def times(self) -> Times:
        """When each frame is shown, by the time stamps; a file that has to be read in order may be decoded once for them.

        Raises DecodeError where they are not known.
        """
        self._check_open()
        times = self._find_times()
        if times is None or len(times) != self.num_frames:
            raise DecodeError(
                f"{self.path}: {type(self).__name__} does not know when its frames are shown; leave data.sampling.fps_hz and "
                "stride_sec at null (--fps-hz out) and name whole films, or choose another decoder"
            )
        return times

    def _find_times(self) -> Times | None:
        return self._info.times

    @abstractmethod
    def _read(self, wanted: list[int]) -> np.ndarray:
        """Return the frames with these ascending, distinct indices: uint8 (N, height, width, 3) RGB."""

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the frames at `indices`, in any order and repeated at will: uint8 (N, H, W, 3) RGB, contiguous.

        Raises DecodeError when an index is not in 0 .. num_frames - 1 or a frame does not decode, and ValueError after
        the `with` block that the video was opened for.
        """
        self._check_open()
        asked = np.asarray(indices)
        if asked.ndim != 1 or not (np.issubdtype(asked.dtype, np.integer) or asked.size == 0):
            raise TypeError(f"frame indices are a flat list of integers, got {asked.dtype} {asked.shape}")
        if asked.size == 0:
            return np.empty((0, self.height, self.width, 3), np.uint8)
        outside = asked[(asked < 0) | (asked >= self.num_frames)]
        if outside.size:
            raise DecodeError(f"{self.path}: no frame {outside[0]}; allowed: 0 to {self.num_frames - 1}")
        wanted, place = np.unique(asked, return_inverse=True)
        frames_NHWC = self._read(wanted.tolist())
        return np.ascontiguousarray(frames_NHWC if np.array_equal(wanted, asked) else frames_NHWC[place])

    def __len__(self) -> int:
        """The same as `num_frames`; a file that has to be read in order may be decoded once to count them."""
        self._check_open()
        return self.num_frames

    def __getitem__(self, index: SupportsIndex | slice) -> np.ndarray:
        """Return one frame, uint8 (H, W, 3), or those of a slice, (N, H, W, 3); a negative index counts from the end.

        Raises IndexError when there is no such frame, and DecodeError when it does not decode.
        """
        num_frames = len(self)
        if isinstance(index, slice):
            return self.get(range(*index.indices(num_frames)))
        number = operator.index(index)
        if not -num_frames <= number < num_frames:
            raise IndexError(f"{self.path}: no frame {number}; allowed: 0 to {num_frames - 1}, or from the end")
        frame_HWC: np.ndarray = self.get([number % num_frames])[0]
        return frame_HWC

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), ITERATED_FRAMES):  # one at a time, each would decode its group anew
            yield from self.get(range(start, min(start + ITERATED_FRAMES, len(self))))

    def __repr__(self) -> str:
        count = "not counted yet" if self._counted is None else counted(self._counted, "frame")
        size = f"{self.width} x {self.height} px"
        rate = "of no rate" if self.fps_hz is None else f"{self.fps_hz:.5g} fps"
        return f"<{type(self).__name__} {str(self.path)!r}: {count}, {size}, {rate}>"

    @abstractmethod
    def close(self) -> None:
        """Release the file and the memory; the decoder cannot be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._after_block = True
        self.close()

    def _check_open(self) -> None:
        if self._after_block:
            raise ValueError(f"{self.path}: is closed; read frames inside the `with` block, or keep them: video[:]")


def reads_folders(decoder: Mapping[str, Any]) -> bool:
    """Whether videos are folders to a decoder, {"name": ...}; False for one that is not there."""
    return _says(decoder, "reads_folders")


def reads_pictures(decoder: Mapping[str, Any]) -> bool:
    """Whether the frames of a decoder, {"name": ...}, are files of pictures; False for one that is not there."""
    return _says(decoder, "reads_pictures")


def _says(decoder: Mapping[str, Any], what: str) -> bool:
    try:
        return bool(getattr(DECODERS.get(decoder["name"]), what, False))
    except ConfigError:
        return False


def open_video(file: str | Path, decoder: str | Mapping[str, Any] = "decord") -> Decoder:
    """Open a video file as a sequence of frames, uint8 (H, W, 3), RGB; close it, or use it in a `with` block.

    A folder of frames is opened by the decoder frame_folder.

    `len(video)`, `video[i]`, `video[10:20]` (N, H, W, 3), `video.get(indices)`, `video.fps_hz`. `decoder`: a name, or
    {"name": "pyav", "threads": 2}. PyAV takes over what a decoder declares that it cannot read exactly; each reason is
    logged once per process. Raises DecodeError naming the file, and ConfigError for an unknown decoder.
    """
    check_path("file", file)
    path, spec = Path(file), {"name": decoder} if isinstance(decoder, str) else decoder
    try:
        return DECODERS.build(dict(spec), path)
    except CannotRead as refusal:
        if refusal.reason not in _announced:
            _announced.add(refusal.reason)
            logger.info("%s hands over to %s: %s", spec["name"], FALLBACK, refusal.reason)
    understood = {key: value for key, value in spec.items() if key in DECODERS.schema(FALLBACK)}
    return DECODERS.build({"name": FALLBACK, **understood}, path)
