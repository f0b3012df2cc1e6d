"""Frames of a video in which seeking is exact: each wanted one from its group of pictures, and pictures to upright RGB.

Shapes: N frames, H W pixels.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, dropwhile
from pathlib import Path
from typing import Any

import numpy as np
from av.codec.context import CodecContext
from av.video.frame import VideoFrame

from videoadapt.errors import DecodeError
from videoadapt.video.decoders._opening import as_decode_error
from videoadapt.video.decoders._pictures import Pictures
from videoadapt.video.decoders._stream import DemuxedVideo, StreamInfo


class SeekingReader:
    """Frames of a video in which seeking is exact, matched by their time stamps."""

    def __init__(self, video: DemuxedVideo, decoder: CodecContext | None = None):
        """`decoder`: one that is set up for this stream, instead of its own."""
        self._video, self._pts = video, video.info.pts
        self.num_frames = len(self._pts)
        packet_of = {stamp: place for place, stamp in enumerate(video.stamps)}
        self._packet_of = [packet_of[stamp] for stamp in self._pts]
        self._decoder: Any = decoder or video.stream.codec_context
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


def upright_rgb(
    path: Path, info: StreamInfo, wanted: list[int], found: Iterable[tuple[int, VideoFrame]], pictures: Pictures
) -> np.ndarray:
    """Return the frames with the ascending indices `wanted`, which `found` gives in any order: uint8 (N, H, W, 3), upright.

    Raises DecodeError for a frame of another size.
    """
    frames_NHWC = np.empty((len(wanted), info.height, info.width, 3), np.uint8)
    for index, frame in found:
        if (frame.height, frame.width) != (info.height, info.width):
            raise DecodeError(f"{path}: the size changes to {frame.width} x {frame.height} pixels on the way")
        with as_decode_error(path):
            frames_NHWC[bisect_left(wanted, index)] = pictures.rgb(frame)
    return info.orientation.upright(frames_NHWC, axes=(1, 2))
