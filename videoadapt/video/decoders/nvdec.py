"""nvdec: an NVIDIA GPU decodes H.264 and HEVC files in which seeking is exact, and PyAV reads the rest.

Decoding is exact by both standards, and pictures become RGB as PyAV makes them, so that frames are the same to the bit. Other
codecs that the GPU knows are not exact (MPEG-4 and MPEG-2 leave the rounding of their transform open), may change their size
at any frame (VP9), or are read in order anyway.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval
from av.video.frame import VideoFrame

from videoadapt import logger
from videoadapt.registry import DECODERS
from videoadapt.video.decoders import _device
from videoadapt.video.decoders._base import MOST_THREADS, CannotRead, Decoder
from videoadapt.video.decoders._grey import Levels
from videoadapt.video.decoders._pictures import Pictures
from videoadapt.video.decoders._probe import SEEKABLE_CODECS, open_demuxed
from videoadapt.video.decoders._seekable import EXACT_PIXEL_FORMATS, seekable
from videoadapt.video.decoders._seeking import SeekingReader, upright_rgb

DEVICE_FORMAT = "nv12"  # of frames that the GPU decoded

_said: set[str] = set()


@DECODERS.register
class NvDec(Decoder):
    """Decodes on this process's GPU. Raises DecodeError naming the file, or CannotRead when PyAV has to read it.

    `threads` are those of PyAV. Raises ConfigError where no GPU is visible.
    """

    def __init__(
        self,
        path: Path,
        /,
        *,
        threads: Annotated[int, Interval(ge=1, le=MOST_THREADS)] = 1,
        levels: Levels | None = None,
    ):
        info = seekable(path, levels)
        if info.pixel_format not in EXACT_PIXEL_FORMATS:
            raise CannotRead(path, "pictures that are not 8-bit 4:2:0")
        if not info.one_size:
            raise CannotRead(path, f"pictures that may change their size, as in {info.codec}")
        super().__init__(path, info)
        self._pictures, self._sound = Pictures(), True
        with ExitStack() as opened:
            video = opened.enter_context(open_demuxed(path, 1, SEEKABLE_CODECS))
            self._decoder = _device.take(video.stream)
            self._reader = SeekingReader(video, self._decoder.context)
            self._open = opened.pop_all()

    @property
    def num_frames(self) -> int:
        """Number of frames in the file's packets, all of which `get` delivers or raises."""
        return self._reader.num_frames

    def _read(self, wanted: list[int]) -> np.ndarray:
        self._sound = False
        frames_NHWC = upright_rgb(
            self.path, self._info, wanted, self._saying(self._reader.frames(wanted)), self._pictures
        )
        self._sound = True
        return frames_NHWC

    def _saying(self, found: Iterator[tuple[int, VideoFrame]]) -> Iterator[tuple[int, VideoFrame]]:
        """The same frames; those that the GPU did not take are said once for each codec and size."""
        for index, frame in found:
            if frame.format.name != DEVICE_FORMAT:
                kind = f"{self._info.codec} of {self._info.width} x {self._info.height} px"
                if kind not in _said:
                    _said.add(kind)
                    logger.info("nvdec: the GPU does not take %s, which the CPU decodes", kind)
            yield index, frame

    def close(self) -> None:
        """Release the file; the decoder waits for the next one."""
        self._reader.close()
        if self._sound:
            self._sound = False
            _device.keep(self._decoder)
        self._open.close()
