"""One video file as H.264 in mp4 that seeks fast and exactly: closed groups, upright, in its shape, no larger than needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from videoadapt.errors import DecodeError, counted
from videoadapt.files import PARTIAL, remove_partial, write_atomically
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._grey import check_levels, grey_bits
from videoadapt.video.decoders._opening import as_decode_error, open_stream
from videoadapt.video.decoders._orientation import Orientation
from videoadapt.video.decoders._pictures import BT2020, UNSPECIFIED, Pictures, is_rgb
from videoadapt.video.decoders._probe import probe
from videoadapt.video.decoders._stream import StreamInfo
from videoadapt.video.x264 import x264_params

# swscale's names of the matrices that `Pictures` leaves; all others are BT.601.
AS_SWSCALE = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, BT2020: Colorspace.BT2020}
TIME_BASE = Fraction(1, 90_000)  # divides every usual frame rate to 0.01 ms


@dataclass(frozen=True)
class Settings:
    """How to encode. `crf` is x264's quality, lower is better; a smaller short side than `short_side_px` stays."""

    short_side_px: int = 256
    keyframe_every: int = 12
    crf: int = 18


@dataclass(frozen=True)
class Encoded:
    """A file that was written, read back and has as many frames as its source.

    `times`: "kept" from the source (a variable rate stays variable), or "even" at the source's mean rate, where the
    source gives frames no ascending times of their own.
    """

    frames: int
    times: Literal["kept", "even"]
    size_bytes: int


class _TimesDoNotAscend(Exception):
    pass


def write_h264(job: tuple[Path, Path], settings: Settings) -> Encoded | DecodeError:
    """Encode `job` = (source, target) in whole or not at all; audio is left out.

    Returns the DecodeError of a source that cannot be read, and of a target that could not be written or read back.
    """
    source, target = job
    remove_partial(target)  # of a process that was killed
    written: list[Encoded] = []

    def write(partial: Path) -> None:
        times: Literal["kept", "even"] = "kept"
        try:
            frames = _encode(source, partial, settings, keep_times=True)
        except _TimesDoNotAscend:
            times = "even"
            frames = _encode(source, partial, settings, keep_times=False)
        _read_back(partial, frames)
        written.append(Encoded(frames, times, partial.stat().st_size))

    try:
        write_atomically(target, write)
    except DecodeError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and str(cause.filename).endswith(PARTIAL):  # of the copy, not of the source
            return DecodeError(f"{target}: cannot be written: {cause.strerror}")
        return error
    except OSError as error:
        return DecodeError(f"{target}: cannot be written: {error.strerror}")
    return written[0]


def _encode(source: Path, target: Path, settings: Settings, keep_times: bool) -> int:
    """Encode all frames and return their number."""
    info = probe(source)
    check_levels(source, info.pixel_format, grey_bits(info.pixel_format), None)
    height, width = _even_size(info.height, info.width, settings.short_side_px)
    turned = info.orientation.quarter_turns % 2 == 1
    # Without CABAC a file is 12 % larger, as good, and decodes in 30 % less time; without the filter over the edges of
    # blocks it decodes in another 25 % less and loses 0.3 dB of 43.
    options = {"crf": str(settings.crf), "preset": "fast", "tune": "fastdecode"}
    # Nothing refers to eight pictures of twelve, so a reader that wants few leaves the others out (loses 0.6 to 1.5 dB).
    options["x264-params"] = x264_params("open-gop=0:scenecut=0:bframes=3:b-adapt=0:b-pyramid=none")
    pictures, count = Pictures(), 0
    matrix: int | None = None
    with as_decode_error(source), av.open(str(target), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(info.fps_hz).limit_denominator(1001), options=options)
        stream.height, stream.width = (width, height) if turned else (height, width)
        stream.pix_fmt = "yuv420p"
        stream.gop_size = settings.keyframe_every
        stream.codec_context.time_base = stream.time_base = TIME_BASE
        if info.pixel_aspect != 1:
            stream.codec_context.sample_aspect_ratio = _pixel_aspect(info, height, width)
        for frame, seconds in _timed_frames(source, info.fps_hz, keep_times):
            if (frame.height, frame.width) != (info.height, info.width):
                raise DecodeError(f"{source}: the size changes to {frame.width} x {frame.height} pixels on the way")
            frame = pictures.plain(frame)
            small = _as_420(frame, height, width, matrix)
            if count == 0:
                matrix = (small if is_rgb(frame) else frame).colorspace
                stream.codec_context.colorspace = matrix
                stream.codec_context.color_primaries = frame.color_primaries
                stream.codec_context.color_trc = frame.color_trc
                stream.codec_context.color_range = ColorRange.MPEG
            upright = _lay_upright(small, info.orientation) if any(info.orientation) else small
            upright.pts, upright.time_base = round(seconds / TIME_BASE), TIME_BASE
            upright.pict_type = 0  # the source's key frames are not ours
            container.mux(stream.encode(upright))
            count += 1
        container.mux(stream.encode())
    return count


def _timed_frames(source: Path, fps_hz: float, keep_times: bool) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Yield all frames with the seconds since the first one. Raises _TimesDoNotAscend when the source has no such times."""
    even = Fraction(fps_hz).limit_denominator(1001)
    start: Fraction | None = None
    last = Fraction(-1)
    with open_stream(source, 1) as (container, stream):
        for index, frame in enumerate(container.decode(stream)):
            seconds = index / even
            if keep_times:
                if frame.pts is None or frame.time_base is None:
                    raise _TimesDoNotAscend
                stamp = frame.pts * frame.time_base
                start = stamp if start is None else start
                seconds = stamp - start
                if round(seconds / TIME_BASE) <= last:
                    raise _TimesDoNotAscend
                last = Fraction(round(seconds / TIME_BASE))
            yield frame, seconds


def _even_size(height: int, width: int, short_side_px: int) -> tuple[int, int]:
    """Size in even pixels with the short side at most `short_side_px`."""
    scale = min(1.0, short_side_px / min(height, width))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def _pixel_aspect(info: StreamInfo, height: int, width: int) -> Fraction:
    """Width of a pixel by its height in a copy of `height` x `width` pixels, laid upright later: the video keeps its shape."""
    aspect = info.pixel_aspect * Fraction(info.width * height, info.height * width)
    return (1 / aspect if info.orientation.quarter_turns % 2 else aspect).limit_denominator(1000)


def _as_420(frame: VideoFrame, height: int, width: int, matrix: int | None) -> VideoFrame:
    """Scale a frame to 4:2:0 in the limited range; to `matrix`, that of the first frame, where it has another one.

    RGB, which has none, becomes BT.601: it would otherwise keep the tag that says RGB.
    """
    other = is_rgb(frame) or matrix not in (None, frame.colorspace)
    to = AS_SWSCALE.get(matrix or UNSPECIFIED, Colorspace.ITU601) if other else None
    return frame.reformat(width, height, "yuv420p", dst_colorspace=to, dst_color_range=ColorRange.MPEG)


def _lay_upright(frame: VideoFrame, orientation: Orientation) -> VideoFrame:
    """Turn and mirror the three planes, so that no colour is converted."""
    height, width = frame.height, frame.width
    flat = frame.to_ndarray(format="yuv420p").reshape(-1)
    luma, chroma = height * width, height * width // 4
    planes = (
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(height // 2, width // 2),
        flat[luma + chroma :].reshape(height // 2, width // 2),
    )
    turned = np.concatenate([orientation.upright(plane, axes=(0, 1)).reshape(-1) for plane in planes])
    across = height if orientation.quarter_turns % 2 else width
    upright = VideoFrame.from_ndarray(np.ascontiguousarray(turned.reshape(-1, across)), format="yuv420p")
    upright.colorspace, upright.color_range = frame.colorspace, frame.color_range
    return upright


def _read_back(path: Path, frames: int) -> None:
    """Raise DecodeError unless seeking is exact in `path` and our decoders, and reading in order, find `frames` frames."""
    info = probe(path)
    if not info.seekable:
        raise DecodeError(f"{path}: was written and does not seek exactly: {info.in_order_because}")
    counts = set()
    for name in ("decord", "pyav"):
        with open_video(path, {"name": name}) as decoder:
            counts.add(decoder.num_frames)
            decoder.get([decoder.num_frames - 1])
    with open_stream(path, 1) as (container, stream):
        counts.add(sum(1 for _ in container.decode(stream)))
    if counts != {frames}:
        raise DecodeError(f"{path}: was written with {counted(frames, 'frame')}, and {sorted(counts)} are read back")
