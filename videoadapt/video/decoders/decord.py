"""decord, the default: reads H.264 and HEVC files in which seeking is exact, and nothing else.

Measured against PyAV in order: on the files that this class accepts, decord 0.6 gives the same pictures to the bit
(both honour the colour matrix and range that the stream states, and take ITU-R 601 where it states none). On others it
gives wrong frames without an error (mpeg4 avi, ts, open groups of pictures), cannot count (one frame too many on
HMDB51), gives some rotated pictures four channels, interpolates colour differently (odd sizes, more than 8 bits), takes
another video stream than the best, or scales pictures to the first one's size (VP9 may change it at any frame, the
others with new parameters): those it refuses, and `open_video` hands them to PyAV. So it does with all files where
another release is installed: the fork decord2 is a package of this name, too, and fails in sound HEVC files.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from videoadapt.errors import DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders._base import MOST_THREADS, CannotRead, Decoder
from videoadapt.video.decoders._grey import Levels
from videoadapt.video.decoders._opening import as_decode_error
from videoadapt.video.decoders._seekable import EXACT_PIXEL_FORMATS, seekable
from videoadapt.video.files import address_of

MEASURED = "0.6.0"
# decord 0.6 opens these and then fails to copy a frame; all other even ones up to 2,048 work.
UNREADABLE_WIDTHS = (2, 4, 6, 8, 12, 16, 24, 48, 72)


@DECODERS.register
class Decord(Decoder):
    """Decodes with decord. Raises DecodeError naming the file, or CannotRead when PyAV has to read it."""

    def __init__(
        self,
        path: Path,
        /,
        *,
        threads: Annotated[int, Interval(ge=1, le=MOST_THREADS)] = 1,
        levels: Levels | None = None,
    ):
        try:
            import decord
        except (ImportError, OSError) as error:  # there is no wheel for arm64
            raise CannotRead(path, f"decord cannot be imported ({error})") from error
        if decord.__version__ != MEASURED:
            raise CannotRead(path, f"decord is {decord.__version__}, and not {MEASURED}, whose frames are known")
        info = seekable(path, levels)
        if any(info.orientation) or info.pixel_format not in EXACT_PIXEL_FORMATS or info.height % 2 or info.width % 2:
            raise CannotRead(path, "pictures that are rotated, mirrored, odd-sized or not 8-bit 4:2:0")
        if info.num_video_streams > 1:  # it may take another one than FFmpeg's best
            raise CannotRead(path, "several video streams")
        if not info.one_size:  # it would scale them all to the first one's
            raise CannotRead(path, f"pictures that may change their size, as in {info.codec}")
        if info.width in UNREADABLE_WIDTHS:
            raise CannotRead(path, f"pictures of {info.width} pixels in width")
        super().__init__(path, info)
        decord.logging.set_level(decord.logging.QUIET)
        self._errors = (decord.DECORDError, RuntimeError, AssertionError)
        try:
            with as_decode_error(path, *self._errors):
                self._reader: Any = decord.VideoReader(address_of(path), num_threads=threads)
        except DecodeError as error:
            raise CannotRead(path, f"decord does not open {info.codec} {info.pixel_format}") from error
        if len(self._reader) != len(info.pts):
            raise CannotRead(path, "decord counts other frames than the file has packets")

    @property
    def num_frames(self) -> int:
        """Number of frames in the file's packets, all of which `get` delivers or raises."""
        return len(self._reader)

    def _read(self, wanted: list[int]) -> np.ndarray:
        with as_decode_error(self.path, *self._errors):
            frames_NHWC: np.ndarray = self._reader.get_batch(wanted).asnumpy()
        if frames_NHWC.shape != (len(wanted), self.height, self.width, 3):
            raise DecodeError(f"{self.path}: decord gives {frames_NHWC.shape} for {len(wanted)} frames")
        return frames_NHWC

    def close(self) -> None:
        """Release the file."""
        self._reader = None
