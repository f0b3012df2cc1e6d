"""A film written again with something drawn on its frames: their times and shape stay, and the sound, bit for bit.

Frames come and go one by one, so that memory does not grow with the film. Shapes: H W pixels.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from videoadapt.errors import ConfigError, DecodeError
from videoadapt.files import write_atomically
from videoadapt.video.decoders._opening import as_decode_error, open_stream
from videoadapt.video.decoders._pictures import Pictures
from videoadapt.video.decoders._probe import probe
from videoadapt.video.decoders._stream import StreamInfo

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}  # that hold H.264
BT709 = 1  # the code of its matrix, primaries and transfer (ITU-T H.273)
_MOST_SIDE_PX = 16_384  # that x264 takes
X264 = {"crf": "18", "preset": "veryfast"}
GIF_HZ, GIF_SIDE_PX = 10, 480  # at most: a gif has no better compression than its frames one by one
GIF_TICK = Fraction(1, 100)  # in which its format counts

Draw = Callable[[np.ndarray, float], None]
"""Draws on a frame, uint8 (H, W, 3), RGB, upright, in place; told when it is shown, in seconds from the first one."""


class _Shown(NamedTuple):
    """A drawn frame, and when it is shown in the source's own ticks, which begin where its sound's do."""

    rgb_HWC: np.ndarray
    stamp: int
    time_base: Fraction
    duration: int
    seconds: float


class _Sink(Protocol):
    def put(self, shown: _Shown) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


def redraw(source: Path, draw: Draw, film: Path | None = None, gif: Path | None = None, least_side_px: int = 1) -> int:
    """Write `film` (CONTAINERS), `gif`, or both from one decode; return the number of frames of the source.

    Pixels of frames with a short side below `least_side_px` are repeated, before they are drawn on, as far as H.264 holds it.
    Raises DecodeError for a source that cannot be read, ConfigError for a target that is the source itself, or whose
    container does not hold its sound or its size, and OSError for one that cannot be written. It is written whole or not at
    all.
    """
    for target in (film, gif):
        if target is not None and target.exists() and os.path.samefile(source, target):
            raise ConfigError(f"{target}: is the film that is read; write to another file")
    count: list[int] = []

    def write(film_part: Path | None, gif_part: Path | None) -> None:
        format = "" if film is None else container_of(film)
        try:
            count.append(_redraw(source, draw, film_part, format, gif_part, least_side_px))
        except DecodeError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.filename in map(str, (film_part, gif_part)):  # not of the source
                raise OSError(cause.errno, cause.strerror, cause.filename) from error
            raise

    if film is None:
        assert gif is not None
        write_atomically(gif, lambda part: write(None, part))
    elif gif is None:
        write_atomically(film, lambda part: write(part, None))
    else:
        write_atomically(film, lambda film_part: write_atomically(gif, lambda gif_part: write(film_part, gif_part)))
    return count[0]


def container_of(film: Path) -> str:
    """FFmpeg's name of the container that a file's suffix says. Raises ConfigError for another one."""
    if film.suffix.lower() not in CONTAINERS:
        raise ConfigError(f"{film}: its suffix says the container; allowed: {', '.join(CONTAINERS)}")
    return CONTAINERS[film.suffix.lower()]


def _redraw(source: Path, draw: Draw, film: Path | None, format: str, gif: Path | None, least_side_px: int) -> int:
    info, count = probe(source), 0
    times = min(-(-least_side_px // min(info.height, info.width)), _MOST_SIDE_PX // max(info.height, info.width))
    if times == 0 and film is not None:
        raise ConfigError(
            f"{source}: is {info.width} x {info.height} pixels, and H.264 is written with {_MOST_SIDE_PX} a side at most; "
            "make it smaller first"
        )
    times = max(times, 1)
    with ExitStack() as opened, as_decode_error(source):
        container, stream = opened.enter_context(open_stream(source, 0))
        sinks: list[_Sink] = []
        sound: _Film | None = None
        if film is not None:
            sound = opened.enter_context(closing(_Film(film, format, container, info, source, times)))
            sinks.append(sound)
        if gif is not None:
            sinks.append(opened.enter_context(closing(_Gif(gif))))
        timed = _Timed(info, times)
        for packet in container.demux([stream, *(container.streams.audio if sound else ())]):
            if packet.stream is not stream:
                assert sound is not None
                sound.put_sound(packet)
                continue
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                shown = timed(source, frame)
                draw(shown.rgb_HWC, shown.seconds)
                for sink in sinks:
                    sink.put(shown)
                count += 1
        for sink in sinks:
            sink.finish()
    return count


class _Timed:
    """Decoded frames as upright pictures with ascending stamps."""

    def __init__(self, info: StreamInfo, times: int):
        self._info, self._times, self._pictures = info, times, Pictures()
        self._first: int | None = None
        self._last, self._step = 0, 0

    def __call__(self, source: Path, frame: VideoFrame) -> _Shown:
        info, base = self._info, frame.time_base or self._info.time_base
        if (frame.height, frame.width) != (info.height, info.width):
            raise DecodeError(f"{source}: the size changes to {frame.width} x {frame.height} pixels on the way")
        stamp = self._stamp(frame, base)
        upright_HWC = info.orientation.upright(self._pictures.rgb(frame), axes=(0, 1))
        rgb_HWC = np.array(upright_HWC.repeat(self._times, 0).repeat(self._times, 1), order="C")
        assert self._first is not None
        return _Shown(rgb_HWC, stamp, base, frame.duration or 0, float((stamp - self._first) * base))

    def _stamp(self, frame: VideoFrame, base: Fraction) -> int:
        """Its own; where that does not ascend that of decoding (B-frames in avi), else one frame after the last."""
        found = (stamp for stamp in (frame.pts, frame.dts) if stamp is not None)
        if self._first is None:
            self._first = self._last = next(found, 0)
            self._step = max(1, round(1 / (Fraction(self._info.fps_hz).limit_denominator(1001) * base)))
            return self._first
        self._last = next((stamp for stamp in found if stamp > self._last), self._last + self._step)
        return self._last


class _Film:
    """H.264 in the limited range of BT.709, said in its header, beside the sound as it is."""

    def __init__(self, target: Path, format: str, source: InputContainer, info: StreamInfo, name: Path, times: int):
        self._out = av.open(str(target), "w", format=format)
        turned = info.orientation.quarter_turns % 2 == 1
        height, width = (times * side for side in ((info.width, info.height) if turned else (info.height, info.width)))
        rate = Fraction(info.fps_hz).limit_denominator(1001)
        self._stream: Any = self._out.add_stream("libx264", rate=rate, options=X264)
        self._size = self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = info.time_base
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        if info.pixel_aspect != 1:
            context.sample_aspect_ratio = 1 / info.pixel_aspect if turned else info.pixel_aspect
        self._sound: dict[int, Any] = {}
        for sound in source.streams.audio:
            codec = sound.codec_context.name if sound.codec_context else "an unknown one"
            if codec not in self._out.supported_codecs:
                raise ConfigError(
                    f"{name}: {format} does not hold its sound ({codec}); write to a file of another suffix "
                    f"({', '.join(CONTAINERS)}), or encode the sound anew first"
                )
            self._sound[sound.index] = self._out.add_stream_from_template(sound, opaque=True)

    def put_sound(self, packet: Any) -> None:
        """Hand on a packet, with its times."""
        if packet.dts is not None:  # none: the end of the stream
            packet.stream = self._sound[packet.stream.index]
            self._out.mux(packet)

    def put(self, shown: _Shown) -> None:
        """Encode a frame; sides of odd pixels get one more, like their last."""
        height, width, _ = shown.rgb_HWC.shape
        padding = ((0, self._size[0] - height), (0, self._size[1] - width), (0, 0))
        rgb_HWC = np.pad(shown.rgb_HWC, padding, mode="edge") if any(map(any, padding)) else shown.rgb_HWC
        frame = VideoFrame.from_ndarray(rgb_HWC, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base, frame.duration = shown.stamp, shown.time_base, shown.duration
        self._out.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._out.mux(self._stream.encode())

    def close(self) -> None:
        """Close the file; where writing failed, nothing more may be written: FFmpeg would crash."""
        self._out.close()


class _Gif:
    """At most GIF_HZ frames a second and GIF_SIDE_PX wide or high, each with the 256 colours that suit it."""

    def __init__(self, target: Path):
        self._out = av.open(str(target), "w", format="gif")
        self._stream: Any = None
        self._graph = Graph()
        self._due_sec = 0.0

    def put(self, shown: _Shown) -> None:
        """Take a frame when one is due."""
        if shown.seconds < self._due_sec - 1e-6:
            return
        self._due_sec = max(self._due_sec + 1 / GIF_HZ, shown.seconds)
        frame = VideoFrame.from_ndarray(shown.rgb_HWC, format="rgb24")
        if self._stream is None:
            self._begin(frame)
        frame.pts, frame.time_base = round(shown.seconds / GIF_TICK), GIF_TICK
        self._graph.push(frame)
        self._encode()

    def _begin(self, frame: VideoFrame) -> None:
        scale = min(1.0, GIF_SIDE_PX / max(frame.width, frame.height))
        width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        self._stream = self._out.add_stream("gif", rate=GIF_HZ)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "pal8"
        self._stream.codec_context.time_base = self._stream.time_base = GIF_TICK
        graph = self._graph
        begin = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=GIF_TICK)
        small, twice = graph.add("scale", f"{width}:{height}:flags=area"), graph.add("split")
        colours, used = graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1:dither=none")
        end = graph.add("buffersink")
        begin.link_to(small)
        small.link_to(twice)
        twice.link_to(colours, 0, 0)
        twice.link_to(used, 1, 0)
        colours.link_to(used, 0, 1)
        used.link_to(end)
        graph.configure()

    def _encode(self) -> None:
        for frame in _pulled(self._graph):
            frame.time_base = GIF_TICK
            self._out.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what filters and encoder still hold."""
        if self._stream is not None:
            self._graph.push(None)
            self._encode()
            self._out.mux(self._stream.encode())

    def close(self) -> None:
        """Close the file."""
        self._out.close()


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield frame
