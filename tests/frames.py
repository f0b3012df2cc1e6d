"""The frames that a video file gives: the reference, from a decoder that is there, and through the cache."""

import hashlib
import os
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from videoadapt.errors import ConfigError
from videoadapt.registry import DECODERS
from videoadapt.video.cache.source import FrameSource

PYAV = {"name": "pyav"}
FILE_DECODERS = [name for name in DECODERS.names() if name not in ("frame_folder", "image")]  # whose videos are films
# Grey levels by which one pixel may differ. Measured: 0 for all three decoders on all these files, with torchcodec on
# FFmpeg 5.1; the room is for another FFmpeg's colour conversion, or one for another processor, that rounds otherwise.
TOLERANCE = 2
_SHOWN: dict[tuple[str, bytes], np.ndarray] = {}


def read_in_order(path: Path) -> np.ndarray:
    """The reference, on its own feet: FFmpeg's best video stream from the first frame to the last, then upright."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frames = [
            np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            for frame in container.decode(container.streams.best("video"))
        ]
    return np.stack(frames)


def shown_by_ffmpeg(path: Path) -> np.ndarray:
    """What the `ffmpeg` command shows of a film, uint8 (N, H, W, 3). Skips where it is missing, and fails in CI.

    The same film is asked about once, for all decoders.
    """
    if shutil.which("ffmpeg") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("the ffmpeg command is not installed")
    film = path.suffix, hashlib.sha256(path.read_bytes()).digest()
    if film not in _SHOWN:
        _SHOWN[film] = _ask_ffmpeg(path)
        _SHOWN[film].flags.writeable = False
    return _SHOWN[film]


def _ask_ffmpeg(path: Path) -> np.ndarray:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-fps_mode", "passthrough", "-sws_flags", "bilinear"]
    command += ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    frames, start = [], 0
    while head := re.compile(rb"P6\n(\d+) (\d+)\n255\n").match(content, start):
        width, height = int(head[1]), int(head[2])
        frames.append(np.frombuffer(content, np.uint8, 3 * width * height, head.end()).reshape(height, width, 3))
        start = head.end() + 3 * width * height
    return np.stack(frames)


def assert_same(frames_NHWC: np.ndarray, expected_NHWC: np.ndarray) -> None:
    assert frames_NHWC.dtype == np.uint8 and frames_NHWC.flags.c_contiguous
    assert frames_NHWC.shape == expected_NHWC.shape
    for frame_HWC, expected_HWC in zip(frames_NHWC, expected_NHWC, strict=True):
        if not np.array_equal(frame_HWC, expected_HWC):
            assert np.abs(frame_HWC.astype(np.int16) - expected_HWC).max() <= TOLERANCE


def decoders_here() -> list[str]:
    """The decoders that need nothing which this machine does not have."""
    return [name for name in FILE_DECODERS if name != "nvdec" or torch.cuda.is_available()]


def require_decoder(name: str) -> None:
    """Skip when the decoder's libraries are missing here, and fail in CI; skip one that needs a GPU where there is none."""
    if name not in decoders_here():
        pytest.skip("nvdec needs an NVIDIA GPU")
    try:
        DECODERS.get(name)
    except ConfigError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


def source(place: Path, gigabytes: float = 1.0, **more: object) -> FrameSource:
    """Frames through the cache."""
    return FrameSource(**{"decoder": PYAV, "cache": str(place), "cache_bytes": int(gigabytes * 1e9), **more})


def frames(made: FrameSource, path: Path, *indices: int) -> np.ndarray:
    """Some frames of a video, or all."""
    with closing(made.open(path)) as video:
        return video.get(list(indices) or range(video.num_frames))
