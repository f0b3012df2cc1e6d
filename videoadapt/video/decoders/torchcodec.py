"""torchcodec: reads H.264, HEVC and VP9 files in which seeking is exact, rotated ones too, and nothing else.

Measured against PyAV in order: on the files that this class accepts, torchcodec 0.11 gives the same pictures to the bit.
On others it gives wrong frames or none without saying why (mpeg4, H.264 and mpeg2 in avi, mpg and ts), or interpolates
colour differently (odd sizes, more than 8 bits): those it refuses, and `open_video` hands them to PyAV.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from videoadapt.errors import ConfigError, DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders._base import MOST_THREADS, CannotRead, Decoder
from videoadapt.video.decoders._grey import Levels
from videoadapt.video.decoders._pictures import RGB
from videoadapt.video.decoders._seekable import EXACT_PIXEL_FORMATS, seekable
from videoadapt.video.files import address_of

INSTEAD = "or choose another decoder: decord, pyav"
try:
    from torchcodec.decoders import VideoDecoder
except ImportError as error:
    raise ConfigError(
        f"decoder torchcodec: the package cannot be imported ({error}); install it, `pip install 'videoadapt[torchcodec]'`, "
        f"and FFmpeg's libraries, `apt-get install ffmpeg`, {INSTEAD}"
    ) from error
except (RuntimeError, OSError) as error:  # its message is a page of linker errors
    raise ConfigError(
        "decoder torchcodec: the package is there, but finds no FFmpeg libraries of versions 4 to 8, or was built for another "
        f"release of torch; `apt-get install ffmpeg`, and the torchcodec that belongs to your torch, {INSTEAD}"
    ) from error

LIBRARY_ERRORS = (RuntimeError, ValueError, IndexError)
SAME_MOMENT_SEC = 1e-6


@DECODERS.register
class TorchCodec(Decoder):
    """Decodes with torchcodec. Raises DecodeError naming the file, or CannotRead when PyAV has to read it."""

    def __init__(
        self,
        path: Path,
        /,
        *,
        threads: Annotated[int, Interval(ge=1, le=MOST_THREADS)] = 1,
        levels: Levels | None = None,
    ):
        info = seekable(path, levels)
        if info.pixel_format not in EXACT_PIXEL_FORMATS or info.height % 2 or info.width % 2:
            raise CannotRead(path, "pictures that are odd-sized or not 8-bit 4:2:0")
        if info.orientation.mirrored:
            raise CannotRead(path, "pictures that are mirrored")
        if info.film_grain:  # it would add it
            raise CannotRead(path, "film grain that the stream describes")
        if info.matrix == RGB:  # it would take BT.709
            raise CannotRead(path, "4:2:0 pictures with the colour matrix of RGB")
        if not info.one_colour:  # it would take the first one's range for all
            raise CannotRead(path, "colours that may change on the way")
        super().__init__(path, info)
        self._moments_sec = np.array([float(stamp * info.time_base) for stamp in info.pts])
        try:
            with _as_decode_error(path):
                self._reader: Any = VideoDecoder(
                    address_of(path),
                    stream_index=info.stream_index,
                    dimension_order="NHWC",
                    num_ffmpeg_threads=threads,
                    device="cpu",
                    seek_mode="exact",
                )
        except DecodeError as error:
            raise CannotRead(path, f"torchcodec does not open {info.codec} {info.pixel_format}") from error
        if len(self._reader) != len(info.pts):
            raise CannotRead(path, "torchcodec counts other frames than the file has packets")
        if round((self._reader.metadata.rotation or 0) / 90) % 4 != info.orientation.quarter_turns:
            raise CannotRead(path, "a rotation that its pictures state, and not the container")

    @property
    def num_frames(self) -> int:
        """Number of frames in the file's packets, all of which `get` delivers or raises."""
        return len(self._moments_sec)

    def _read(self, wanted: list[int]) -> np.ndarray:
        with _as_decode_error(self.path):
            batch = self._reader.get_frames_at(wanted)
        # For a packet that gives no picture, torchcodec would deliver the next one.
        away_sec = np.abs(batch.pts_seconds.numpy() - self._moments_sec[wanted])
        if away_sec.max() > SAME_MOMENT_SEC:
            raise DecodeError(
                f"{self.path}: frame {wanted[int(away_sec.argmax())]} of {self.num_frames} does not decode"
            )
        frames_NHWC: np.ndarray = batch.data.numpy()
        if frames_NHWC.shape != (len(wanted), self.height, self.width, 3):
            raise DecodeError(f"{self.path}: torchcodec gives {frames_NHWC.shape} for {len(wanted)} frames")
        return frames_NHWC

    def close(self) -> None:
        """Release the file."""
        self._reader = None


@contextmanager
def _as_decode_error(path: Path) -> Iterator[None]:
    try:
        yield
    except LIBRARY_ERRORS as error:
        # Before the reason stand the function, and the file and line of C++ that raised it.
        reason = re.sub(r"^\w+, \S+:\d+, ", "", str(error).partition("\n")[0])
        raise DecodeError(f"{path}: torchcodec: {reason}") from error
