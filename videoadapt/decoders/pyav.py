"""PyAV (FFmpeg): reads every file, by seeking where that is exact and in order everywhere else."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from videoadapt.decoders._base import Decoder, check_threads
from videoadapt.decoders._probe import StreamInfo, as_decode_error, open_stream, probe
from videoadapt.errors import DecodeError
from videoadapt.registry import DECODERS

NATIVE_BUDGET_BYTES = 256 * 2**20


class _SeekingReader:
    """Frames of a file in which seeking is exact, matched by their time stamps."""

    def __init__(self, path: Path, info: StreamInfo, threads: int):
        self.path, self.info = path, info
        self.num_frames = len(info.pts)
        self._open = ExitStack()
        self._container, self._stream = self._open.enter_context(open_stream(path, threads))
        self._forward = self._decode()
        self._position = -1

    def frames(self, wanted: list[int]) -> Iterator[VideoFrame]:
        """Yield the frames with these ascending indices, decoding no stretch twice."""
        for index in wanted:
            key = self.info.keys[bisect_right(self.info.keys, index) - 1]
            if index <= self._position or key > self._position + 1:
                self._seek(key)
            frame = None
            while self._position < index:
                self._position, frame = next(self._forward, (self.num_frames, None))
            if frame is None or self._position != index:
                raise DecodeError(f"{self.path}: frame {index} of {self.num_frames} does not decode")
            yield frame

    def _seek(self, key: int) -> None:
        with as_decode_error(self.path):
            self._container.seek(self.info.pts[key], stream=self._stream)
        self._forward, self._position = self._decode(), -1

    def _decode(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (index, frame) from here on. Raises DecodeError when the frames differ from the packets."""
        expected: int | None = None
        with as_decode_error(self.path):
            for frame in self._container.decode(self._stream):
                if frame.pts is None:
                    raise DecodeError(f"{self.path}: a frame without a time stamp")
                index = bisect_left(self.info.pts, frame.pts) if expected is None else expected
                if index >= self.num_frames or self.info.pts[index] != frame.pts:
                    raise DecodeError(f"{self.path}: frame {index} of {self.num_frames} does not decode")
                yield index, frame
                expected = index + 1

    def close(self) -> None:
        self._open.close()


class _InOrderReader:
    """Frames of a file that has to be read from its start; what fits the memory budget is decoded only once."""

    def __init__(self, path: Path, threads: int):
        self.path, self._threads = path, threads
        self._kept: list[VideoFrame] = []
        self._num_frames: int | None = None

    @property
    def num_frames(self) -> int:
        """Number of frames, found by decoding them all at the first call."""
        if self._num_frames is None:
            kept, count, free_bytes = [], 0, NATIVE_BUDGET_BYTES
            for frame in self._decode():
                count += 1
                # In its native format a frame takes half of what it takes in RGB.
                free_bytes -= sum(plane.buffer_size for plane in frame.planes)
                if free_bytes >= 0:
                    kept.append(frame)
            self._kept, self._num_frames = kept, count
        return self._num_frames

    def frames(self, wanted: list[int]) -> Iterator[VideoFrame]:
        """Yield the frames with these ascending indices."""
        for index in wanted:
            if index < len(self._kept):
                yield self._kept[index]
        beyond = [index for index in wanted if index >= len(self._kept)]
        if not beyond:
            return
        remaining, done = iter(self._decode()), 0
        for index in beyond:
            frame = next(islice(remaining, index - done, None), None)
            if frame is None:
                raise DecodeError(f"{self.path}: frame {index} decoded before and does not now")
            yield frame
            done = index + 1

    def _decode(self) -> Iterator[VideoFrame]:
        with open_stream(self.path, self._threads) as (container, stream):
            yield from container.decode(stream)

    def close(self) -> None:
        self._kept = []


@DECODERS.register
class PyAV(Decoder):
    """Decodes with PyAV. Raises DecodeError naming the file and the reason when `path` is no readable video."""

    def __init__(self, path: Path, /, *, threads: int = 1):
        check_threads(threads)
        info = probe(path)
        super().__init__(path, info)
        self._info = info
        self._reader = _SeekingReader(path, info, threads) if info.seekable else _InOrderReader(path, threads)
        self._reformatter = VideoReformatter()

    @property
    def num_frames(self) -> int:
        """Number of frames that decode. Raises DecodeError when the file is damaged."""
        return self._reader.num_frames

    def _read(self, wanted: list[int]) -> np.ndarray:
        frames_NHWC = np.empty((len(wanted), self._info.height, self._info.width, 3), np.uint8)
        for place, frame in enumerate(self._reader.frames(wanted)):
            with as_decode_error(self.path):
                rgb_HWC = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
            if rgb_HWC.shape != frames_NHWC.shape[1:]:
                raise DecodeError(f"{self.path}: the size changes to {frame.width} x {frame.height} pixels on the way")
            frames_NHWC[place] = rgb_HWC
        return np.rot90(frames_NHWC, self._info.quarter_turns, axes=(1, 2))

    def close(self) -> None:
        """Release the file and the frames in memory."""
        self._reader.close()
