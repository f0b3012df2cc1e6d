"""Decoded frames kept for the next epoch and the next run: one file a video, in memory or in a folder.

Whoever uses the place at the same time shares it: all processes, ranks and runs. What is in it changes no frame: a
video is found by its path, size, time of change, decoder and short side, and is kept whole or not at all. A full cache
takes nothing more; with every video once an epoch, throwing out the oldest would throw out the next one needed.

Shapes: N frames, H W pixels.
"""

import atexit
import fcntl
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import torch
import torch.nn.functional as F

from videoadapt.atomic import PARTIAL, write_atomically
from videoadapt.config import DataConfig
from videoadapt.decoders import Decoder, open_video
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.log import logger

MEMORY = Path("/dev/shm") / f"videoadapt-{os.getuid()}"
_PART_BYTES = 64 * 2**20  # decoded frames in hand while a video is put in
_LEFT_FREE = 0.1  # of the disk: others need it, too
_HEADER_BYTES = 128  # of a .npy file of frames
_LAYOUT = 1  # part of what a video is found by
_joined: dict[Path, int] = {}  # places that this process uses, with the file that says so


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


class FrameSource:
    """Opens videos as `data.decoder`, `data.short_side_px` and `data.cache` say.

    Made in the main process, which holds the place for as long as it lives; loader processes get copies.
    """

    def __init__(self, config: DataConfig):
        self._spec = dict(config.decoder)
        self._short_px = config.short_side_px
        self._limit_bytes = int(config.cache_gb * 1e9)
        self._limit_sec = config.limit_sec
        self._not_kept: set[Path] = set()
        self._place: Path | None = None
        if config.cache == "ram":
            if not MEMORY.parent.is_dir():
                raise ConfigError(f"data.cache = 'ram': there is no {MEMORY.parent} on this machine; name a folder")
            self._place = MEMORY
        elif config.cache != "off":
            self._place = Path(config.cache).absolute()
        if self._place is not None and self._place not in _joined:
            _join(self._place)

    def open(self, path: Path) -> Frames:
        """Frames of a video. Raises DecodeError naming the file."""
        entry = self._entry(path)
        if entry is not None and (kept := _read(entry, path)) is not None:
            return kept
        decoder = open_video(path, self._spec)
        short_px = self._short_px
        frames = _Resized(decoder, short_px) if short_px and min(decoder.height, decoder.width) > short_px else decoder
        if entry is None or not self._keep(frames, entry) or (kept := _read(entry, path)) is None:
            return frames
        frames.close()
        return kept

    def _entry(self, path: Path) -> Path | None:
        """The file for this video's frames; None without a cache, or for a file that cannot be looked at."""
        if self._place is None:
            return None
        try:
            stat = path.stat()
        except OSError:
            return None
        identity = [
            str(path.absolute()), stat.st_size, stat.st_mtime_ns, self._spec, av.__version__, self._short_px, _LAYOUT
        ]  # fmt: skip
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return self._place / name[:2] / f"{name}.npy"

    def _keep(self, frames: Frames, entry: Path) -> bool:
        """Decode all frames into `entry`; False where they do not fit, do not all decode, or take too long."""
        if entry in self._not_kept:
            return False
        try:
            if not _reserve(entry.parent.parent, _num_bytes(frames), self._limit_bytes):
                return False
            try:
                write_atomically(entry, partial(self._write, frames))
            except BaseException:
                _reserve(entry.parent.parent, -_num_bytes(frames), self._limit_bytes)
                raise
        except (DecodeError, _TooLong):  # as without a cache, the frames that are asked for may be fine
            self._not_kept.add(entry)
            return False
        except (OSError, ValueError) as error:
            logger.warning("data.cache: %s keeps no more frames: %s", entry.parent.parent, error)
            self._place = None
            return False
        return True

    def _write(self, frames: Frames, path: Path) -> None:
        """Write a film as .npy; not through mmap, where a full disk would be a bus error."""
        deadline = time.monotonic() + self._limit_sec / 4
        shape = frames.num_frames, frames.height, frames.width, 3
        at_once = max(1, _PART_BYTES * shape[0] // _num_bytes(frames))
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for start in range(0, shape[0], at_once):
                if time.monotonic() > deadline:
                    raise _TooLong
                file.write(frames.get(np.arange(start, min(start + at_once, shape[0]))).data)


class _TooLong(Exception):
    """Decoding a whole film takes more of the time for one video than there is to spare."""


def _num_bytes(frames: Frames) -> int:
    return frames.num_frames * frames.height * frames.width * 3


class _Kept:
    """Frames in a file of the cache."""

    def __init__(self, path: Path, file: io.FileIO):
        self._path, self._file = path, file
        self._start, (self.num_frames, self.height, self.width) = _film(file.read(_HEADER_BYTES))
        if os.fstat(file.fileno()).st_size != self._start + _num_bytes(self):
            raise ValueError("it has another length than its header says")

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames. Raises DecodeError when an index is not in 0 .. num_frames - 1."""
        asked = np.asarray(indices)
        outside = asked[(asked < 0) | (asked >= self.num_frames)]
        if outside.size:
            raise DecodeError(f"{self._path}: no frame {outside[0]}; allowed: 0 to {self.num_frames - 1}")
        frames_NHWC = np.empty((len(asked), self.height, self.width, 3), np.uint8)
        for frame_HWC, index in zip(frames_NHWC, asked.tolist(), strict=True):
            # not through mmap, which costs more for a few frames, and where a disk's fault would be a bus error
            self._file.seek(self._start + index * frame_HWC.nbytes)
            if self._file.readinto(frame_HWC.data) != frame_HWC.nbytes:
                raise DecodeError(
                    f"{self._path}: its frames in the cache, {self._file.name}, were cut short; delete that file"
                )
        return frames_NHWC

    def close(self) -> None:
        """See Frames."""
        self._file.close()


@lru_cache
def _film(header: bytes) -> tuple[int, tuple[int, int, int]]:
    """Where the frames of a .npy file start, their number, height and width. Raises ValueError for another file."""
    file = io.BytesIO(header)
    np.lib.format.read_magic(file)
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if len(shape) != 4 or shape[3] != 3 or in_columns or dtype != np.uint8:
        raise ValueError(f"it holds {dtype} {shape}, not frames")
    return file.tell(), shape[:3]


class _Resized:
    """Frames made smaller: bilinear with antialias, the long side rounded down."""

    def __init__(self, frames: Decoder, short_px: int):
        self._frames = frames
        short, long = sorted((frames.height, frames.width))
        sides = {short: short_px, long: int(short_px * long / short)} if long > short else {short: short_px}
        self.height, self.width = sides[frames.height], sides[frames.width]

    @property
    def num_frames(self) -> int:
        """See Frames."""
        return self._frames.num_frames

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames."""
        frames_NCHW = torch.from_numpy(self._frames.get(indices)).permute(0, 3, 1, 2)
        small_NCHW = F.interpolate(frames_NCHW, size=(self.height, self.width), mode="bilinear", antialias=True)
        return small_NCHW.permute(0, 2, 3, 1).contiguous().numpy()

    def close(self) -> None:
        """See Frames."""
        self._frames.close()


def _read(entry: Path, path: Path) -> _Kept | None:
    """What is kept of the video `path`."""
    try:
        file = entry.open("rb", buffering=0)
        try:
            return _Kept(path, file)
        except BaseException:
            file.close()
            raise
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("data.cache: %s cannot be read and is decoded anew: %s", entry, error)
        return None


def _join(place: Path) -> None:
    """Say that this process uses the place until it ends; who comes to one that nobody uses tidies it up."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = os.open(place / ".users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _alone(users):
            _tidy(place)
        fcntl.flock(users, fcntl.LOCK_SH)
    except OSError as error:
        raise ConfigError(f"data.cache = {place}: cannot be used: {error.strerror}; choose another folder") from error
    _joined[place] = users


@atexit.register
def leave_all() -> None:
    """Let go of every place in use. The last one who uses memory gives it back; a folder stays for the next run."""
    while _joined:
        place, users = _joined.popitem()
        if place == MEMORY and _alone(users):
            _tidy(place)
        os.close(users)


def _alone(users: int) -> bool:
    """True, and nobody else can come, when no other process uses the place."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tidy(place: Path) -> None:
    """Empty what killed runs left in memory; in a folder, remove the halves that they left, and count what is there."""
    total = 0
    own = "[0-9a-f]" * 64
    for file in [*place.glob(f"[0-9a-f][0-9a-f]/{own}.npy"), *place.glob(f"[0-9a-f][0-9a-f]/.{own}.npy.*{PARTIAL}")]:
        if place == MEMORY or file.suffix == PARTIAL:
            file.unlink()
        else:
            total += file.stat().st_size
    (place / ".bytes").write_bytes(b"%020d" % total)


def _reserve(place: Path, size: int, limit_bytes: int) -> bool:
    """Count `size` more bytes as taken (fewer, when negative); not when that is too much for the limit, or for the disk."""
    disk = shutil.disk_usage(place)
    if size > 0 and disk.free - size < disk.total * _LEFT_FREE:
        return False
    with (place / ".bytes").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        total = int(file.read()) + size
        if size > 0 and total > limit_bytes:
            return False
        os.pwrite(file.fileno(), b"%020d" % total, 0)  # at once, so that no kill leaves half a number
    return True
