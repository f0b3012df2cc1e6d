"""Videos whose frames were decoded before and kept: for data sets that are small and read again and again.

Shapes: N frames, H W pixels.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from videoadapt.decoders._base import Decoder, open_video
from videoadapt.errors import DecodeError

LARGEST_BYTES = 64 * 2**20  # a video whose frames take more is decoded each time


class KeptFrames:
    """What `Decoder` offers to a data loader, over the frames (N, H, W, 3) in a file that is mapped, not read."""

    def __init__(self, path: Path, frames_NHWC: np.ndarray):
        self.path = path
        self._frames_NHWC = frames_NHWC
        self.num_frames, self.height, self.width = frames_NHWC.shape[:3]

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """As `Decoder.get`."""
        asked = np.asarray(indices)
        outside = asked[(asked < 0) | (asked >= self.num_frames)]
        if outside.size:
            raise DecodeError(f"{self.path}: no frame {outside[0]}; allowed: 0 to {self.num_frames - 1}")
        return np.ascontiguousarray(self._frames_NHWC[asked])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to do: the mapping goes with the object."""


def open_kept(path: Path, spec: Mapping[str, Any], folder: Path | None) -> Decoder | KeptFrames:
    """`open_video`, with the frames from `folder`, where the first call puts them; they are the decoder's, to the bit.

    A file belongs to the path, size and time of the video and to the decoder's settings. Any number of processes may share
    the folder. Raises what `open_video` raises.
    """
    if folder is None:
        return open_video(path, spec)
    try:
        status = path.stat()
    except OSError:
        return open_video(path, spec)  # which says what is wrong with it
    key = json.dumps([str(path.absolute()), status.st_size, status.st_mtime_ns, dict(spec)], sort_keys=True)
    name = hashlib.sha256(key.encode()).hexdigest()
    kept = folder / name[:2] / f"{name}.npy"
    try:
        return KeptFrames(path, np.load(kept, mmap_mode="r"))
    except (OSError, EOFError, ValueError):  # not there yet, or cut short by a power failure
        pass
    decoder = open_video(path, spec)
    if decoder.num_frames * decoder.height * decoder.width * 3 > LARGEST_BYTES:
        return decoder
    with decoder:
        frames_NHWC = decoder.get(range(decoder.num_frames))
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_name(f".{name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.save(file, frames_NHWC)
        partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)
    return KeptFrames(path, frames_NHWC)
