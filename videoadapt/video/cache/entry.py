"""Decoded frames of one video in a .npy file: written, checked, and read a few at a time.

Shapes: N frames, H W pixels.
"""

import io
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from videoadapt import logger
from videoadapt.errors import DecodeError
from videoadapt.video.cache.folder import open_here

_HEADER_BYTES = 128  # of a .npy file of frames
_PART_BYTES = 64 * 2**20  # decoded frames in hand while a video is put in


class Frames(Protocol):
    """What clips and views are made of: a decoder, or something that stands for one."""

    height: int
    width: int

    @property
    def num_frames(self) -> int:
        """Number of frames that decode."""

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the frames at `indices`: uint8 (N, H, W, 3)."""

    def close(self) -> None:
        """Release the file."""


class TooLong(Exception):
    """Decoding a whole film takes more of the time for one video than there is to spare."""


def film_bytes(frames: Frames) -> int:
    """Bytes of the file that `write_film` makes of all frames."""
    return _HEADER_BYTES + frames.num_frames * frames.height * frames.width * 3


def write_film(frames: Frames, path: Path, limit_sec: float) -> None:
    """Write all frames as .npy. Raises DecodeError, TooLong after `limit_sec`, OSError for a full disk."""
    deadline = time.monotonic() + limit_sec
    shape = frames.num_frames, frames.height, frames.width, 3
    at_once = max(1, _PART_BYTES * shape[0] // film_bytes(frames))
    with path.open("wb") as file:  # not through mmap, where a full disk would be a bus error
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, shape[0], at_once):
            if time.monotonic() > deadline:
                raise TooLong
            file.write(frames.get(np.arange(start, min(start + at_once, shape[0]))).data)


class KeptFrames:
    """Frames in a file of the cache; of the video itself from where that file cannot be read any longer."""

    def __init__(self, path: Path, file: io.FileIO, decode: Callable[[], Frames]):
        self._path, self._file, self._decode = path, file, decode
        self._decoded: Frames | None = None
        self._start, (self.num_frames, self.height, self.width) = _film(file)

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames. Raises DecodeError when an index is not in 0 .. num_frames - 1."""
        if self._decoded is None:
            try:
                return self._read(np.asarray(indices))
            except OSError as error:
                logger.warning(
                    "data.cache: %s cannot be read, its video is decoded instead: %s", self._file.name, error
                )
                self._decoded = self._decode()
        return self._decoded.get(indices)

    def _read(self, indices_N: np.ndarray) -> np.ndarray:
        outside = indices_N[(indices_N < 0) | (indices_N >= self.num_frames)]
        if outside.size:
            raise DecodeError(f"{self._path}: no frame {outside[0]}; allowed: 0 to {self.num_frames - 1}")
        frames_NHWC = np.empty((len(indices_N), self.height, self.width, 3), np.uint8)
        for frame_HWC, index in zip(frames_NHWC, indices_N.tolist(), strict=True):
            # not through mmap, which costs more for a few frames, and where a disk's fault would be a bus error
            self._file.seek(self._start + index * frame_HWC.nbytes)
            if self._file.readinto(frame_HWC.data) != frame_HWC.nbytes:
                raise OSError("it was cut short")
        return frames_NHWC

    def close(self) -> None:
        """See Frames."""
        self._file.close()
        if self._decoded is not None:
            self._decoded.close()


def _film(file: io.FileIO) -> tuple[int, tuple[int, int, int]]:
    """Where the frames of a .npy file start, their number, height and width. Raises ValueError for another file."""
    start, shape = _header(file.read(_HEADER_BYTES))
    if os.fstat(file.fileno()).st_size != start + math.prod(shape) * 3:
        raise ValueError("it has another length than its header says")
    return start, shape


@lru_cache
def _header(content: bytes) -> tuple[int, tuple[int, int, int]]:
    file = io.BytesIO(content)
    try:
        np.lib.format.read_magic(file)
        shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy evaluates the text, which may be anything
        raise ValueError(f"its header is damaged: {error}") from error
    if len(shape) != 4 or shape[3] != 3 or in_columns or dtype != np.uint8:
        raise ValueError(f"it holds {dtype} {shape}, not frames")
    return file.tell(), shape[:3]


def read_film(entry: Path, path: Path, decode: Callable[[], Frames]) -> KeptFrames | None:
    """What is kept of the video `path`, which `decode` opens."""
    try:
        file = _open(entry)
        try:
            return KeptFrames(path, file, decode)
        except BaseException:
            file.close()
            raise
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("data.cache: %s cannot be read and is decoded anew: %s", entry, error)
        return None


def _open(entry: Path) -> io.FileIO:
    return open(entry, "rb", buffering=0, opener=open_here)


def is_whole(entry: Path) -> bool:
    """Whether a file can be read and holds frames, as many as its header says."""
    try:
        with _open(entry) as file:
            _film(file)
    except (OSError, ValueError):
        return False
    return True
