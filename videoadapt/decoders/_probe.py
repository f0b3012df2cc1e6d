"""What a video file holds, found by demuxing it: which stream, which frames, and whether seeking in it is exact.

Seeking is an allow-list, because on other files a seek lands on a wrong frame without any error (mpeg4 with packed
B-frames in avi, mpg, ts, open groups of pictures): those are read in order.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videoadapt.errors import DecodeError, why_unreadable

SEEKABLE_CODECS = ("h264", "hevc", "vp9")
SEEKABLE_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
NAL_SLICES, NAL_IDR = range(1, 6), 5
NAL_PARAMETERS = {"h264": 7, "hevc": 33}
FILE_ERRORS: tuple[type[Exception], ...] = (av.FFmpegError, OSError, ValueError)

MEND = "copy it again, or encode it anew"
DECORD_PREFIX = re.compile(r"^(\[[\d:]+\] \S+: )+(Check failed: .*? \(\S+ vs\. \S+\) )?")


@dataclass(frozen=True)
class StreamInfo:
    """The best video stream of a file. `height` and `width` are as stored, before `quarter_turns` counterclockwise.

    `pts` (time stamps of all frames, ascending, in units of `time_base` seconds) and `keys` (indices of the key frames)
    are known only when seeking is exact; otherwise both are empty and `in_order_because` says why the file has to be
    read in order. `one_size` is True when the pictures are known not to change their size on the way.
    """

    stream_index: int
    num_video_streams: int
    codec: str
    pixel_format: str
    height: int
    width: int
    quarter_turns: int
    fps_hz: float
    time_base: Fraction
    pts: tuple[int, ...]
    keys: tuple[int, ...]
    in_order_because: str
    one_size: bool

    @property
    def seekable(self) -> bool:
        """True when a seek to a key frame gives the same pictures as reading in order."""
        return not self.in_order_because


class _Packet(NamedTuple):
    pts: int | None
    key: bool
    clean_start: bool
    complete: bool


@contextmanager
def as_decode_error(path: Path, *also: type[Exception]) -> Iterator[None]:
    """Turn what FFmpeg, the file system, or the exception types in `also` raise into a DecodeError naming `path`."""
    try:
        yield
    except (*FILE_ERRORS, *also) as error:
        raise DecodeError(f"{path}: {why_unreadable(path) or _what_it_says(error)}") from error


def _what_it_says(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, av.InvalidDataError):
        return error.strerror or str(error)
    # decord puts its C++ stack below the first line, and time, source file and condition before the message.
    message = getattr(error, "strerror", None) or DECORD_PREFIX.sub("", str(error).partition("\n")[0])
    return f"is damaged, cut off, or no video ({message}); {MEND}"


@contextmanager
def open_stream(path: Path, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open `path` and its best video stream (FFmpeg's choice). Raises DecodeError when there is no video in it."""
    # An absolute path, because FFmpeg takes "a:b.mp4" for a protocol; metadata may be in any encoding.
    with as_decode_error(path), av.open(os.path.abspath(path), metadata_errors="ignore") as container:
        stream = container.streams.best("video")
        # FFmpeg renders text files as a film of a terminal, and a song's cover counts as a video stream.
        if not isinstance(stream, VideoStream) or container.format.name == "tty":
            raise DecodeError(f"{path}: no video stream")
        if stream.disposition & Disposition.attached_pic:
            raise DecodeError(f"{path}: no video stream, only a cover picture")
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        yield container, stream


def probe(path: Path) -> StreamInfo:
    """Describe the best video stream of `path`, decoding nothing but its first frame.

    Raises DecodeError when the file cannot be opened, holds no video, or its first frame does not decode.
    """
    with open_stream(path, 1) as (container, stream):
        codec, format_name = stream.codec_context.name, container.format.name
        listed = codec in SEEKABLE_CODECS and format_name in SEEKABLE_CONTAINERS
        extradata = stream.codec_context.extradata or b""
        first: VideoFrame | None = None
        one_size = True
        packets: list[_Packet] = []
        for packet in container.demux(stream):
            if first is None:
                first = next(iter(packet.decode()), None)
            if first is not None and not listed:
                break
            if packet.size:
                complete = not (packet.is_discard or packet.is_corrupt)
                clean = False
                if packet.is_keyframe:
                    units = _nal_units(codec, bytes(packet), extradata) if codec in NAL_PARAMETERS else []
                    clean = _starts_clean(codec, units)
                    one_size = one_size and _keeps_size(codec, units, extradata)
                one_size = one_size and not packet.has_sidedata("new_extradata")
                packets.append(_Packet(packet.pts, packet.is_keyframe, clean, complete))
        if first is None:
            raise DecodeError(f"{path}: no frame decodes; {MEND}")
        because = _why_in_order(packets) if listed else f"{codec} in {format_name.split(',')[0]}"
        rate, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
        if rate is None or time_base is None:
            raise DecodeError(f"{path}: the file states no frame rate")
        pts, keys = ([], []) if because else _index(packets)
        return StreamInfo(
            stream_index=stream.index,
            num_video_streams=len(container.streams.video),
            codec=codec,
            pixel_format=first.format.name,
            height=first.height,
            width=first.width,
            quarter_turns=_quarter_turns(path, first.rotation),
            fps_hz=float(rate),
            time_base=time_base,
            pts=tuple(pts),
            keys=tuple(keys),
            in_order_because=because,
            one_size=one_size and not because,
        )


def _quarter_turns(path: Path, degrees_counterclockwise: int) -> int:
    if degrees_counterclockwise % 90:
        raise DecodeError(f"{path}: rotated by {degrees_counterclockwise} degrees; allowed: multiples of 90")
    return degrees_counterclockwise // 90 % 4


def _nal_units(codec: str, packet: bytes, extradata: bytes) -> list[tuple[int, bytes]]:
    """Return (type, content) of each unit of an H.264 or HEVC packet; none when units are not length-prefixed.

    Length prefixes are what mp4 and Matroska require (ISO/IEC 14496-15).
    """
    size_at, shift, mask = (4, 0, 31) if codec == "h264" else (21, 1, 63)
    if len(extradata) <= size_at or extradata[0] != 1:
        return []
    prefix = (extradata[size_at] & 3) + 1
    units, start = [], 0
    while start + prefix < len(packet):
        end = start + prefix + int.from_bytes(packet[start : start + prefix], "big")
        units.append((packet[start + prefix] >> shift & mask, packet[start + prefix : end]))
        start = end
    return units


def _starts_clean(codec: str, units: list[tuple[int, bytes]]) -> bool:
    """True when every H.264 slice among the units is IDR, so that no later frame refers to anything before it."""
    slices = [kind for kind, _ in units if kind in NAL_SLICES]
    return codec != "h264" or (bool(slices) and all(kind == NAL_IDR for kind in slices))


def _keeps_size(codec: str, units: list[tuple[int, bytes]], extradata: bytes) -> bool:
    """True when the units set no sequence parameters but the file's own; VP9 may change size at any frame."""
    parameters = NAL_PARAMETERS.get(codec)
    return bool(units) and all(unit in extradata for kind, unit in units if kind == parameters)


def _index(packets: list[_Packet]) -> tuple[list[int], list[int]]:
    """Return the time stamps in the order of playing, and which of them are key frames."""
    played = sorted((packet.pts, packet.key) for packet in packets if packet.pts is not None)
    return [pts for pts, _ in played], [index for index, (_, key) in enumerate(played) if key]


def _why_in_order(packets: list[_Packet]) -> str:
    """Return why seeking among these packets (in file order) is not exact, or an empty string when it is."""
    pts = [packet.pts for packet in packets if packet.pts is not None]
    if len(set(pts)) < len(packets):
        return "packets without a time stamp of their own"
    if not all(packet.complete for packet in packets):
        return "packets that are damaged or cut off by an edit list"
    if not packets[0].key:
        return "a first packet that is no key frame"
    earliest_from_here = np.minimum.accumulate(pts[::-1])[::-1]
    for packet, stamp, earliest in zip(packets, pts, earliest_from_here, strict=True):
        if packet.key and (not packet.clean_start or earliest < stamp):
            return "open groups of pictures"
    return ""
