"""PyAV (FFmpeg): reads every file, by seeking where that is exact and in order everywhere else."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack
from functools import partial
from itertools import chain, dropwhile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from av.video.frame import VideoFrame

from videoadapt.errors import DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders._base import MOST_THREADS, Decoder
from videoadapt.video.decoders._opening import as_decode_error, open_stream
from videoadapt.video.decoders._pictures import Pictures
from videoadapt.video.decoders._probe import open_demuxed
from videoadapt.video.decoders._rate import times_of_decoded
from videoadapt.video.decoders._stream import DemuxedVideo
from videoadapt.video.times import Times

NATIVE_BUDGET_BYTES = 256 * 2**20


class _SeekingReader:
    """Frames of a video in which seeking is exact, matched by their time stamps."""

    def __init__(self, video: DemuxedVideo):
        self._video, self._pts = video, video.info.pts
        self.num_frames = len(self._pts)
        packet_of = {stamp: place for place, stamp in enumerate(video.stamps)}
        self._packet_of = [packet_of[stamp] for stamp in self._pts]
        self._decoder: Any = video.stream.codec_context
        self._reading: Iterator[tuple[int, VideoFrame]] | None = None  # of one group, all frames
        self._next = self._stop = 0

    def frames(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (index, frame) for these ascending indices, group by group, decoding no more of a group than needed."""
        keys = self._video.info.keys
        without_gaps = len(wanted) > 1 and wanted[-1] - wanted[0] == len(wanted) - 1
        while wanted:
            following = bisect_right(keys, wanted[0])
            stop = keys[following] if following < len(keys) else self.num_frames
            length = bisect_left(wanted, stop)
            group, wanted = wanted[:length], wanted[length:]
            if without_gaps:
                yield from self._read_on(keys[following - 1], stop, group)
            else:
                yield from self._pick(keys[following - 1], group)

    def _pick(self, key: int, group: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        self._reading = None
        missing = set(group)
        # Without those that nothing refers to, H.264 takes a fifth less time; should one be missed, all are decoded.
        for others in ("NONREF", "DEFAULT") if self._video.info.codec == "h264" else ("DEFAULT",):
            for index, frame in self._decode(key, sorted(missing), others):
                missing.discard(index)
                yield index, frame
            if not missing:
                return
        raise DecodeError(f"{self._video.path}: frame {min(missing)} of {self.num_frames} does not decode")

    def _read_on(self, key: int, stop: int, group: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Frames without gaps, continuing where the last such request ended: a whole video may be read in parts."""
        if self._reading is None or not self._next <= group[0] < self._stop:
            self._reading, self._next, self._stop = self._decode(key, list(range(key, stop)), "DEFAULT"), key, stop
        for index in range(group[0], group[-1] + 1):
            found, frame = next((pair for pair in self._reading if pair[0] >= index), (-1, None))
            if frame is None or found != index:
                self._reading = None
                raise DecodeError(f"{self._video.path}: frame {index} of {self.num_frames} does not decode")
            self._next = index + 1
            yield index, frame

    def _decode(self, key: int, wanted: list[int], others: str) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the wanted frames of the group that starts with frame `key`; `others` is what to do with the rest of it."""
        awaited = {self._pts[index]: index for index in wanted}
        last = max(self._packet_of[index] for index in wanted)
        with as_decode_error(self._video.path):
            self._decoder.flush_buffers()
            for packet in chain(self._packets(self._packet_of[key], last), (None,)):
                if packet is not None:
                    self._decoder.skip_frame = "DEFAULT" if packet.pts in awaited else others
                for frame in self._decoder.decode(packet):
                    if frame.pts in awaited:
                        yield awaited.pop(frame.pts), frame

    def close(self) -> None:
        """Forget what was being read."""
        self._reading = None

    def _packets(self, first: int, last: int) -> Iterator[Any]:
        """The packets from `first` to `last`, from memory or read again."""
        if self._video.packets is not None:
            yield from self._video.packets[first : last + 1]
            return
        stamps = self._video.stamps[first : last + 1]
        self._video.container.seek(stamps[0], stream=self._video.stream)
        found = (packet for packet in self._video.container.demux(self._video.stream) if packet.size)
        # FFmpeg seeks by the times of decoding, and may come out at the key frame before.
        read = dropwhile(lambda packet: packet.pts != stamps[0], found)
        for stamp in stamps:
            packet = next(read, None)
            if packet is None or packet.pts != stamp:
                raise DecodeError(f"{self._video.path}: seeking led to another packet than reading in order")
            yield packet


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
    """Decodes with PyAV. Raises DecodeError naming the file and the reason when `path` is no readable video."""

    def __init__(self, path: Path, /, *, threads: Annotated[int, Interval(ge=1, le=MOST_THREADS)] = 1):
        self._pictures = Pictures()
        self._damaged: set[int] = set()
        with ExitStack() as opened:
            video = opened.enter_context(open_demuxed(path, threads))
            super().__init__(path, video.info)
            self._reader: _SeekingReader | _InOrderReader
            if video.info.seekable:
                self._reader = _SeekingReader(video)
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
        if times is not None or isinstance(reader, _SeekingReader):
            return times
        if len(reader.stamps) < reader.num_frames:
            reader.read_on_to_the_end()
        return times_of_decoded(reader.stamps, reader.last_duration, info.time_base, info.fps_hz)

    def _read(self, wanted: list[int]) -> np.ndarray:
        frames_NHWC = np.empty((len(wanted), self._info.height, self._info.width, 3), np.uint8)
        for index, frame in self._reader.frames(wanted):
            if (frame.height, frame.width) != (self._info.height, self._info.width):
                raise DecodeError(f"{self.path}: the size changes to {frame.width} x {frame.height} pixels on the way")
            if frame.is_corrupt:
                self._damaged.add(index)
            with as_decode_error(self.path):
                frames_NHWC[bisect_left(wanted, index)] = self._pictures.rgb(frame)
        return self._info.orientation.upright(frames_NHWC, axes=(1, 2))

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
