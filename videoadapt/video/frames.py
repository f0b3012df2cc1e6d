"""Frames by index, whatever gives them, and two ways to change each of them: smaller, and as JPEG shows it.

Shapes: N frames, H W pixels.
"""

import io
from collections.abc import Sequence, Set
from typing import Protocol

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from PIL import Image, features

from videoadapt.video.times import Times

JPEG_VERSIONS = (PIL.__version__, features.version("libjpeg_turbo"))  # another one may round otherwise
_FULL_COLOUR = 0  # chroma at every pixel: half the largest error of 4:2:0, for a fifth more bytes


class Frames(Protocol):
    """What clips and views are made of: a decoder, or something that stands for one."""

    height: int
    width: int

    @property
    def num_frames(self) -> int:
        """Number of frames that decode."""

    @property
    def times(self) -> Times:
        """When each is shown. Raises DecodeError where that is not known."""

    @property
    def fps_hz(self) -> float | None:
        """The mean rate, or what the file states; None where neither is known."""

    @property
    def damaged(self) -> Set[int] | None:
        """Of the frames given so far, those that the decoder marked as damaged; None where it cannot tell."""

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the frames at `indices`: uint8 (N, H, W, 3)."""

    def close(self) -> None:
        """Release the file."""


class Changed:
    """Frames of another source, each changed on its way."""

    def __init__(self, frames: Frames):
        self._frames = frames
        self.height, self.width = frames.height, frames.width

    @property
    def num_frames(self) -> int:
        """See Frames."""
        return self._frames.num_frames

    @property
    def times(self) -> Times:
        """See Frames."""
        return self._frames.times

    @property
    def fps_hz(self) -> float | None:
        """See Frames."""
        return self._frames.fps_hz

    @property
    def damaged(self) -> Set[int] | None:
        """See Frames."""
        return self._frames.damaged

    def close(self) -> None:
        """See Frames."""
        self._frames.close()


class Smaller(Changed):
    """Frames whose short side is `short_px`: bilinear with antialias, the long side rounded down."""

    def __init__(self, frames: Frames, short_px: int):
        super().__init__(frames)
        short, long = sorted((frames.height, frames.width))
        sides = {short: short_px, long: int(short_px * long / short)} if long > short else {short: short_px}
        self.height, self.width = sides[frames.height], sides[frames.width]

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames."""
        frames_NCHW = torch.from_numpy(self._frames.get(indices)).permute(0, 3, 1, 2)
        small_NCHW = F.interpolate(frames_NCHW, size=(self.height, self.width), mode="bilinear", antialias=True)
        return small_NCHW.permute(0, 2, 3, 1).contiguous().numpy()


class ThroughJpeg(Changed):
    """Frames as they are after JPEG: what a cache of this quality gives, without one."""

    def __init__(self, frames: Frames, quality: int):
        super().__init__(frames)
        self._quality = quality

    def get_jpeg(self, indices: Sequence[int] | np.ndarray) -> list[bytes]:
        """The frames at `indices` as JPEG files, whose pixels `get` returns."""
        return [to_jpeg(frame_HWC, self._quality) for frame_HWC in self._frames.get(indices)]

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See Frames."""
        frames_NHWC = self._frames.get(indices)
        seen_NHWC = np.empty_like(frames_NHWC)  # a source may hand out its own memory
        for frame_HWC, seen_HWC in zip(frames_NHWC, seen_NHWC, strict=True):
            seen_HWC[:] = from_jpeg(to_jpeg(frame_HWC, self._quality))
        return seen_NHWC


def to_jpeg(frame_HWC: np.ndarray, quality: int) -> bytes:
    """Compress uint8 (H, W, 3) RGB: baseline JPEG, 4:4:4, by libjpeg's scale of quality from 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(frame_HWC).save(file, "JPEG", quality=quality, subsampling=_FULL_COLOUR)
    return file.getvalue()


def from_jpeg(content: bytes | bytearray | memoryview) -> np.ndarray:
    """Return the picture in a JPEG file as uint8 (H, W, 3) RGB. Raises OSError for what is none."""
    return np.asarray(Image.open(io.BytesIO(content), formats=("JPEG",)))
