"""Decoded frames of one video in a file: written, checked, and read a few at a time.

Behind the frames stands a record of each: its checksum, which is compared whenever the frame is read, whether the decoder
marked it as damaged, and until when it is shown. Checksums begin with the entry's name, so that an entry under another's name
is none. How frames and records lie in the file is its `coding`.

Shapes: N frames, H W pixels.
"""

import io
import os
import time
import zlib
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videoadapt import logger
from videoadapt.errors import DecodeError
from videoadapt.video.cache.coding import HEADER_BYTES, Coding, Jpeg, Shape
from videoadapt.video.cache.folder import open_here
from videoadapt.video.frames import Frames, ThroughJpeg
from videoadapt.video.times import Times

_SUM_BYTES = 4  # the checksum of all records, at the end
_SOUND, _DAMAGED, _UNKNOWN = range(3)  # marks; the last one of decoders that cannot tell
_PART_BYTES = 64 * 2**20  # decoded frames in hand while a video is put in


class NotKept(Exception):
    """A whole film takes more of the time for one video than there is to spare, or more room than `film_bytes`."""


def film_bytes(frames: Frames, coding: Coding) -> int:
    """Bytes of the file that `write_film` makes of all frames; at most these, where the coding's frames differ in length."""
    of_frame = coding.most_bytes(frames.height, frames.width) + coding.record.itemsize
    return HEADER_BYTES + frames.num_frames * of_frame + _SUM_BYTES


def write_film(frames: Frames, path: Path, name: str, coding: Coding, limit_sec: float) -> None:
    """Write all frames. Raises DecodeError, NotKept after `limit_sec` or beyond `film_bytes`, OSError for a full disk.

    `name` is that of the entry which the file will be.
    """
    deadline = time.monotonic() + limit_sec
    shape = frames.num_frames, frames.height, frames.width
    at_once = max(1, _PART_BYTES // (frames.height * frames.width * 3))
    header = coding.header(shape)
    seed, records_N = _seed(name, header), np.zeros(shape[0], coding.record)
    with path.open("wb") as file:  # not through mmap, where a full disk would be a bus error
        file.write(header)
        for start in range(0, shape[0], at_once):
            part_NHWC = frames.get(np.arange(start, min(start + at_once, shape[0])))
            for index, frame_HWC in enumerate(part_NHWC, start):
                if time.monotonic() > deadline:
                    raise NotKept
                packed = coding.pack(frame_HWC)
                _note(records_N, index, packed, seed)
                file.write(packed)
        with suppress(DecodeError):  # of a decoder that does not know them
            records_N["until_sec"] = frames.times.until_sec
        damaged = frames.damaged
        records_N["mark"] = _UNKNOWN if damaged is None else _SOUND
        records_N["mark"][sorted(damaged or ())] = _DAMAGED
        file.write(records_N.tobytes())
        file.write(zlib.crc32(records_N.tobytes(), seed).to_bytes(_SUM_BYTES, "little"))
        if file.tell() > film_bytes(frames, coding):
            raise NotKept


def _note(records_N: np.ndarray, index: int, packed: bytes | memoryview, seed: int) -> None:
    records_N["checksum"][index] = _checksum(packed, seed, index)
    if "length" in (records_N.dtype.names or ()):
        records_N["length"][index] = len(packed)


def _seed(name: str, header: bytes) -> int:
    return zlib.crc32(name.encode() + header)


def _checksum(packed: bytes | bytearray | memoryview, seed: int, index: int) -> int:
    return zlib.crc32(packed, (seed + index) % 2**32)  # a frame in another's place is not it


class KeptFrames:
    """Frames in a file of the cache; of the video itself from where that file is not what was written, or cannot be read."""

    def __init__(
        self, path: Path, entry: Path, file: io.FileIO, coding: Coding, instead: Callable[[io.FileIO], Frames]
    ):
        """`path`: the video. `instead` opens it, and puts away the entry that `file` is. Raises ValueError for no entry."""
        self._path, self._file, self._coding, self._instead = path, file, coding, instead
        self._decoded: Frames | None = None
        self._film = _film(file, entry.name, coding)
        self.num_frames, self.height, self.width = self._film.shape
        self._given_damaged: set[int] = set()

    @property
    def times(self) -> Times:
        """See Frames."""
        if self.fps_hz is None:
            raise DecodeError(
                f"{self._path}: its decoder does not know when its frames are shown; leave data.sampling.fps_hz and stride_sec "
                "at null (--fps-hz out) and name whole films, or choose another decoder"
            )
        return Times(self._film.records_N["until_sec"])

    @property
    def fps_hz(self) -> float | None:
        """See Frames."""
        length_sec = float(self._film.records_N["until_sec"][-1])
        return self.num_frames / length_sec if length_sec else None

    @property
    def damaged(self) -> Set[int] | None:
        """See Frames."""
        if self._decoded is not None:
            found = self._decoded.damaged
            return None if found is None else found | self._given_damaged
        return None if (self._film.records_N["mark"] == _UNKNOWN).any() else self._given_damaged

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames. Raises DecodeError when an index is not in 0 .. num_frames - 1."""
        if self._decoded is None:
            try:
                return self._read(np.asarray(indices))
            except OSError as error:
                self._decoded = self._made_anew(error)
        return self._decoded.get(indices)

    def get_jpeg(self, indices: Sequence[int] | np.ndarray) -> list[bytes]:
        """The frames at `indices` as the JPEG files that they are kept as, with `get`'s checks and errors.

        Raises TypeError where they are kept otherwise.
        """
        if not isinstance(self._coding, Jpeg):
            raise TypeError(f"{self._file.name} holds no frames in JPEG")
        if self._decoded is None:
            try:
                return self._read_files(np.asarray(indices))
            except OSError as error:
                self._decoded = self._made_anew(error)
        assert isinstance(self._decoded, ThroughJpeg)  # as all frames of a source with a quality
        return self._decoded.get_jpeg(indices)

    def _made_anew(self, error: OSError) -> Frames:
        logger.warning("data.cache: %s is made anew from its video: %s", self._file.name, error)
        return self._instead(self._file)

    def _read(self, indices_N: np.ndarray) -> np.ndarray:
        self._check(indices_N)
        frames_NHWC = np.empty((len(indices_N), self.height, self.width, 3), np.uint8)
        for frame_HWC, index in zip(frames_NHWC, indices_N.tolist(), strict=True):
            packed = self._coding.room(frame_HWC, self._length(index))
            self._read_one(packed, index)
            self._coding.unpack(packed, frame_HWC)
        self._note_damaged(indices_N)
        return frames_NHWC

    def _read_files(self, indices_N: np.ndarray) -> list[bytes]:
        self._check(indices_N)
        files = []
        for index in indices_N.tolist():
            packed = bytearray(self._length(index))
            self._read_one(packed, index)
            files.append(bytes(packed))
        self._note_damaged(indices_N)
        return files

    def _check(self, indices_N: np.ndarray) -> None:
        outside = indices_N[(indices_N < 0) | (indices_N >= self.num_frames)]
        if outside.size:
            raise DecodeError(f"{self._path}: no frame {outside[0]}; allowed: 0 to {self.num_frames - 1}")

    def _note_damaged(self, indices_N: np.ndarray) -> None:
        damaged_N = self._film.records_N["mark"][indices_N] == _DAMAGED
        self._given_damaged.update(indices_N[damaged_N].tolist())

    def _length(self, index: int) -> int:
        return int(self._film.bounds[index + 1] - self._film.bounds[index])

    def _read_one(self, packed: memoryview | bytearray, index: int) -> None:
        """Read the bytes that stand for a frame, as many as there is room for in `packed`."""
        # not through mmap, which costs more for a few frames, and where a disk's fault would be a bus error
        self._file.seek(int(self._film.bounds[index]))
        if self._file.readinto(packed) != self._length(index):
            raise OSError("it was cut short")
        if _checksum(packed, self._film.seed, index) != self._film.records_N["checksum"][index]:
            raise OSError(f"frame {index} is not what was written")

    def close(self) -> None:
        """See Frames."""
        self._file.close()
        if self._decoded is not None:
            self._decoded.close()


class _Film(NamedTuple):
    """What a file says of its frames: their records, what checksums begin with, where each starts and the last one ends."""

    shape: Shape
    seed: int
    records_N: np.ndarray
    bounds: np.ndarray


def _film(file: io.FileIO, name: str, coding: Coding) -> _Film:
    """Read the header and the records of the entry `name`. Raises ValueError for another file."""
    header = file.read(HEADER_BYTES)
    shape = coding.shape(header)
    file_bytes, size = os.fstat(file.fileno()).st_size, shape[0] * coding.record.itemsize + _SUM_BYTES
    if size > file_bytes - HEADER_BYTES:
        raise ValueError("it was cut short")
    records, seed = os.pread(file.fileno(), size, file_bytes - size), _seed(name, header)
    if zlib.crc32(records[:-_SUM_BYTES], seed) != int.from_bytes(records[-_SUM_BYTES:], "little"):
        raise ValueError("its checksums are damaged, or it has another length than its header says")
    records_N = np.frombuffer(records[:-_SUM_BYTES], coding.record)
    bounds = np.concatenate(([HEADER_BYTES], coding.lengths(records_N, shape))).cumsum()
    if bounds[-1] + size != file_bytes:
        raise ValueError("it has another length than its header says")
    return _Film(shape, seed, records_N, bounds)


def read_film(entry: Path, path: Path, coding: Coding, instead: Callable[[io.FileIO], Frames]) -> KeptFrames | None:
    """What is kept of the video `path`; `instead` as KeptFrames takes it."""
    try:
        file = _open(entry)
        try:
            return KeptFrames(path, entry, file, coding, instead)
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


def is_whole(entry: Path, coding: Coding) -> bool:
    """Whether a file can be read and holds frames, as many as its header says."""
    try:
        with _open(entry) as file:
            _film(file, entry.name, coding)
    except (OSError, ValueError):
        return False
    return True
