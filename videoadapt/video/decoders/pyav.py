"""PyAV (FFmpeg): reads every file, by seeking where that is exact and in order everywhere else."""

from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval
from av.video.frame import VideoFrame

from videoadapt.errors import DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders._base import MOST_THREADS, Decoder
from videoadapt.video.decoders._grey import Levels, check_levels, grey_bits
from videoadapt.video.decoders._opening import as_decode_error, open_stream
from videoadapt.video.decoders._pictures import Pictures
from videoadapt.video.decoders._probe import open_demuxed
from videoadapt.video.decoders._rate import times_of_decoded
from videoadapt.video.decoders._seeking import SeekingReader, upright_rgb
from videoadapt.video.decoders._stream import DemuxedVideo
from videoadapt.video.times import Times

NATIVE_BUDGET_BYTES = 256 * 2**20


class _InOrderReader:
    """Frames of a video that has to be read from its start; what fits the memory budget is decoded only once."""

    def __init__(self, path: Path, decode: Callable[[], Iterator[VideoFrame]], num_frames: int | None):
        self.path, self._decode = path, decode
        self._kept: list[VideoFrame] = []
        self._free_bytes = NATIVE_BUDGET_BYTES
        self._coming, self._position = decode(), 0
        self._num_frames = num_frames
        self.stamps: list[tuple[int | None, int | None]] = []  # (pts, dts) of the frames decoded so far
        self.last_duration = 0  # of the last of them

    @property
    def num_frames(self) -> int:
        """Number of frames, found by decoding them all at the first call where the packets do not tell."""
        if self._num_frames is None:
            self.read_on_to_the_end()
            self._num_frames = self._position
        return self._num_frames

    def read_on_to_the_end(self) -> None:
        """Decode all frames that are still to come."""
        while self._next() is not None:
            pass

    def frames(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (index, frame) for these ascending indices."""
        for index in wanted:
            if index < len(self._kept):
                yield index, self._kept[index]
                continue
            if index < self._position:
                self._coming, self._position = self._decode(), 0
            frame = None
            while self._position <= index:
                frame = self._next()
                if frame is None:
                    raise DecodeError(f"{self.path}: frame {index} of {self.num_frames} does not decode")
            assert frame is not None
            yield index, frame

    def _next(self) -> VideoFrame | None:
        frame = next(self._coming, None)
        if frame is not None:
            if self._position == len(self.stamps):
                self.stamps.append((frame.pts, frame.dts))
                self.last_duration = frame.duration or 0
            if self._position == len(self._kept):
                # In its native format a frame takes half of what it takes in RGB.
                self._free_bytes -= sum(plane.buffer_size for plane in frame.planes)
                if self._free_bytes >= 0:
                    self._kept.append(frame)
            self._position += 1
        return frame

    def close(self) -> None:
        self._kept, self._coming = [], iter(())


@DECODERS.register
class PyAV(Decoder):
    """Decodes with PyAV. Raises DecodeError naming the file and the reason when `path` is no readable video.

    `levels`: of grey videos, the values that become black and white.
    """

    def __init__(
        self,
        path: Path,
        /,
        *,
        threads: Annotated[int, Interval(ge=1, le=MOST_THREADS)] = 1,
        levels: Levels | None = None,
    ):
        self._pictures = Pictures(levels)
        self._damaged: set[int] = set()
        with ExitStack() as opened:
            video = opened.enter_context(open_demuxed(path, threads))
            super().__init__(path, video.info)
            check_levels(path, video.info.pixel_format, grey_bits(video.info.pixel_format), levels)
            self._reader: SeekingReader | _InOrderReader
            if video.info.seekable:
                self._reader = SeekingReader(video)
            elif video.packets is not None:
                self._reader = _InOrderReader(path, partial(_decode_packets, video), video.info.num_frames)
            else:
                self._reader = _InOrderReader(path, partial(_decode_file, path, threads), None)
            self._open = opened.pop_all()

    @property
    def num_frames(self) -> int:
        """Number of frames that decode. Raises DecodeError when the file is damaged."""
        return self._reader.num_frames

    @property
    def damaged(self) -> Set[int] | None:
        """See Decoder: FFmpeg marks what it could not decode whole, and what it filled in itself."""
        return self._damaged

    def _find_times(self) -> Times | None:
        info, reader, times = self._info, self._reader, self._info.times
        if times is not None or isinstance(reader, SeekingReader):
            return times
        if len(reader.stamps) < reader.num_frames:
            reader.read_on_to_the_end()
        return times_of_decoded(reader.stamps, reader.last_duration, info.time_base, info.fps_hz)

    def _read(self, wanted: list[int]) -> np.ndarray:
        return upright_rgb(self.path, self._info, wanted, self._noting_damage(wanted), self._pictures)

    def _noting_damage(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        for index, frame in self._reader.frames(wanted):
            if frame.is_corrupt:
                self._damaged.add(index)
            yield index, frame

    def close(self) -> None:
        """Release the file and the frames in memory."""
        self._reader.close()
        self._open.close()


def _decode_packets(video: DemuxedVideo) -> Iterator[VideoFrame]:
    assert video.packets is not None
    decoder = video.stream.codec_context
    with as_decode_error(video.path):
        decoder.flush_buffers()
        for packet in video.packets:
            yield from decoder.decode(packet)
        yield from decoder.decode(None)


def _decode_file(path: Path, threads: int) -> Iterator[VideoFrame]:
    with open_stream(path, threads) as (container, stream):
        yield from container.decode(stream)
