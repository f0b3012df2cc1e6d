"""Decoded frames of one video in a .npy file: written, checked, and read a few at a time.

Behind the frames stands a record of each: its checksum, which is compared whenever the frame is read, and whether the decoder
marked it as damaged. Checksums begin with the entry's name, so that an entry under another's name is none.

Shapes: N frames, H W pixels.
"""

import io
import math
import os
import time
import zlib
from collections.abc import Callable, Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from videoadapt import logger
from videoadapt.errors import DecodeError
from videoadapt.video.cache.folder import open_here

_HEADER_BYTES = 128  # of a .npy file of frames
_RECORD = np.dtype([("checksum", "<u4"), ("mark", "u1")])  # of a frame
_SUM_BYTES = 4  # the checksum of all records, at the end
_SOUND, _DAMAGED, _UNKNOWN = range(3)  # marks; the last one of decoders that cannot tell
_PART_BYTES = 64 * 2**20  # decoded frames in hand while a video is put in


class Frames(Protocol):
    """What clips and views are made of: a decoder, or something that stands for one."""

    height: int
    width: int

    @property
    def num_frames(self) -> int:
        """Number of frames that decode."""

    @property
    def damaged(self) -> Set[int] | None:
        """Of the frames given so far, those that the decoder marked as damaged; None where it cannot tell."""

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the frames at `indices`: uint8 (N, H, W, 3)."""

    def close(self) -> None:
        """Release the file."""


class TooLong(Exception):
    """Decoding a whole film takes more of the time for one video than there is to spare."""


def film_bytes(frames: Frames) -> int:
    """Bytes of the file that `write_film` makes of all frames."""
    of_frame = frames.height * frames.width * 3 + _RECORD.itemsize
    return _HEADER_BYTES + frames.num_frames * of_frame + _SUM_BYTES


def write_film(frames: Frames, path: Path, name: str, limit_sec: float) -> None:
    """Write all frames as .npy. Raises DecodeError, TooLong after `limit_sec`, OSError for a full disk.

    `name` is that of the entry which the file will be.
    """
    deadline = time.monotonic() + limit_sec
    shape = frames.num_frames, frames.height, frames.width, 3
    at_once = max(1, _PART_BYTES * shape[0] // film_bytes(frames))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    seed = _seed(name, header.getvalue())
    records_N = np.zeros(shape[0], _RECORD)
    with path.open("wb") as file:  # not through mmap, where a full disk would be a bus error
        file.write(header.getvalue())
        for start in range(0, shape[0], at_once):
            if time.monotonic() > deadline:
                raise TooLong
            part_NHWC = frames.get(np.arange(start, min(start + at_once, shape[0])))
            for index, frame_HWC in enumerate(part_NHWC, start):
                records_N["checksum"][index] = _checksum(frame_HWC, seed, index)
            file.write(part_NHWC.data)
        damaged = frames.damaged
        records_N["mark"] = _UNKNOWN if damaged is None else _SOUND
        records_N["mark"][sorted(damaged or ())] = _DAMAGED
        file.write(records_N.tobytes())
        file.write(zlib.crc32(records_N.tobytes(), seed).to_bytes(_SUM_BYTES, "little"))


def _seed(name: str, header: bytes) -> int:
    return zlib.crc32(name.encode() + header)


def _checksum(frame_HWC: np.ndarray, seed: int, index: int) -> int:
    return zlib.crc32(frame_HWC.data, (seed + index) % 2**32)  # a frame in another's place is not it


class KeptFrames:
    """Frames in a file of the cache; of the video itself from where that file is not what was written, or cannot be read."""

    def __init__(self, path: Path, entry: Path, file: io.FileIO, instead: Callable[[io.FileIO], Frames]):
        """`path`: the video. `instead` opens it, and puts away the entry that `file` is. Raises ValueError for no entry."""
        self._path, self._file, self._instead = path, file, instead
        self._decoded: Frames | None = None
        self._start, (self.num_frames, self.height, self.width), self._seed, self._records_N = _film(file, entry.name)
        self._given_damaged: set[int] = set()

    @property
    def damaged(self) -> Set[int] | None:
        """See Frames."""
        if self._decoded is not None:
            found = self._decoded.damaged
            return None if found is None else found | self._given_damaged
        return None if (self._records_N["mark"] == _UNKNOWN).any() else self._given_damaged

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames. Raises DecodeError when an index is not in 0 .. num_frames - 1."""
        if self._decoded is None:
            try:
                return self._read(np.asarray(indices))
            except OSError as error:
                logger.warning("data.cache: %s is made anew from its video: %s", self._file.name, error)
                self._decoded = self._instead(self._file)
        return self._decoded.get(indices)

    def _read(self, indices_N: np.ndarray) -> np.ndarray:
        outside = indices_N[(indices_N < 0) | (indices_N >= self.num_frames)]
        if outside.size:
            raise DecodeError(f"{self._path}: no frame {outside[0]}; allowed: 0 to {self.num_frames - 1}")
        frames_NHWC = np.empty((len(indices_N), self.height, self.width, 3), np.uint8)
        records_N = self._records_N[indices_N]
        places = zip(frames_NHWC, indices_N.tolist(), records_N["checksum"].tolist(), strict=True)
        for frame_HWC, index, checksum in places:
            # not through mmap, which costs more for a few frames, and where a disk's fault would be a bus error
            self._file.seek(self._start + index * frame_HWC.nbytes)
            if self._file.readinto(frame_HWC.data) != frame_HWC.nbytes:
                raise OSError("it was cut short")
            if _checksum(frame_HWC, self._seed, index) != checksum:
                raise OSError(f"frame {index} is not what was written")
        self._given_damaged.update(indices_N[records_N["mark"] == _DAMAGED].tolist())
        return frames_NHWC

    def close(self) -> None:
        """See Frames."""
        self._file.close()
        if self._decoded is not None:
            self._decoded.close()


def _film(file: io.FileIO, name: str) -> tuple[int, tuple[int, int, int], int, np.ndarray]:
    """Where the frames of the entry `name` start, their number, height and width, and what checks them.

    That is the seed of their checksums and the records (N,). Raises ValueError for another file.
    """
    header = file.read(_HEADER_BYTES)
    start, shape = _header(header)
    end = start + math.prod(shape) * 3
    size = shape[0] * _RECORD.itemsize + _SUM_BYTES
    if os.fstat(file.fileno()).st_size != end + size:
        raise ValueError("it has another length than its header says")
    records, seed = os.pread(file.fileno(), size, end), _seed(name, header)
    if zlib.crc32(records[:-_SUM_BYTES], seed) != int.from_bytes(records[-_SUM_BYTES:], "little"):
        raise ValueError("its checksums are damaged")
    return start, shape, seed, np.frombuffer(records[:-_SUM_BYTES], _RECORD)


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


def read_film(entry: Path, path: Path, instead: Callable[[io.FileIO], Frames]) -> KeptFrames | None:
    """What is kept of the video `path`; `instead` as KeptFrames takes it."""
    try:
        file = _open(entry)
        try:
            return KeptFrames(path, entry, file, instead)
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
            _film(file, entry.name)
    except (OSError, ValueError):
        return False
    return True
