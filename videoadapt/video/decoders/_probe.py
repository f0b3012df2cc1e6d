"""What a video file holds, found by demuxing it: which stream, which frames, and whether seeking in it is exact.

Seeking is an allow-list, because on other files a seek lands on a wrong frame without any error (mpeg4 with packed
B-frames in avi, mpg, ts, open groups of pictures): those are read in order. Each file is opened and demuxed once.
"""

import os
import re
from array import array
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videoadapt.errors import DecodeError, why_unreadable
from videoadapt.video.decoders._lru import Memory, identity
from videoadapt.video.decoders._mpeg4 import mpeg4_facts
from videoadapt.video.decoders._packets import PacketFacts, facts_of, why_in_order
from videoadapt.video.decoders._truncation import missing_bytes

SEEKABLE_CODECS = ("h264", "hevc", "vp9")
SEEKABLE_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
MPEG4_CONTAINER = "avi"
LOOKED_INTO = (*SEEKABLE_CODECS, "mpeg4")
PACKET_BUDGET_BYTES = 64 * 2**20  # of compressed video that is kept in memory; larger files are read again
FILE_ERRORS: tuple[type[Exception], ...] = (av.FFmpegError, OSError, ValueError)

MEND = "copy it again, or encode it anew"
DECORD_PREFIX = re.compile(r"^(\[[\d:]+\] \S+: )+(Check failed: .*? \(\S+ vs\. \S+\) )?")


@dataclass(frozen=True)
class StreamInfo:
    """The best video stream of a file. `height` and `width` are as stored, before `quarter_turns` counterclockwise.

    `pts` (time stamps of all frames, ascending, in units of `time_base` seconds) and `keys` (indices of the key frames)
    are known only when seeking is exact; otherwise both are empty and `in_order_because` says why the file has to be
    read in order. `num_frames` is None where only decoding them all tells. `one_size` is True when the pictures are
    known not to change their size on the way.
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
    num_frames: int | None
    in_order_because: str
    one_size: bool

    @property
    def seekable(self) -> bool:
        """True when a seek to a key frame gives the same pictures as reading in order."""
        return not self.in_order_because


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
    """Open `path` and its best video stream (FFmpeg's choice). Raises DecodeError when it holds none, or is cut off."""
    # An absolute path, because FFmpeg takes "a:b.mp4" for a protocol; metadata may be in any encoding.
    with as_decode_error(path), av.open(os.path.abspath(path), metadata_errors="ignore") as container:
        stream = container.streams.best("video")
        # FFmpeg renders text files as a film of a terminal, and a song's cover counts as a video stream.
        if not isinstance(stream, VideoStream) or container.format.name == "tty":
            raise DecodeError(f"{path}: no video stream")
        if stream.disposition & Disposition.attached_pic:
            raise DecodeError(f"{path}: no video stream, only a cover picture")
        if missing := missing_bytes(path, container.format.name):
            raise DecodeError(f"{path}: is cut off, its last {missing} bytes are missing; {MEND}")
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        yield container, stream


@dataclass(frozen=True)
class Film:
    """An open file. `packets` are all of the stream's in the order of the file, or None where they are not known or too large.

    `stamps` are their time stamps, known when seeking is exact.
    """

    path: Path
    container: InputContainer
    stream: VideoStream
    info: StreamInfo
    stamps: list[int]
    packets: "list[Packet[VideoStream]] | None"


class _Known:
    """A film without the file: what was found out, in few bytes."""

    def __init__(self, film: Film, num_packets: int):
        self._info = replace(film.info, pts=(), keys=())
        self._pts, self._keys, self._stamps = (array("q", x) for x in (film.info.pts, film.info.keys, film.stamps))
        self._whole, self._num_packets = film.packets is not None, num_packets
        self.num_stamps = 100 + len(self._pts) + len(self._keys) + len(self._stamps)

    def info(self) -> StreamInfo:
        """The description, as it was."""
        return replace(self._info, pts=tuple(self._pts), keys=tuple(self._keys))

    def film(self, path: Path, container: InputContainer, stream: VideoStream) -> Film:
        """The film, from the file opened anew; packets are demuxed now only where seeking does not find them.

        Raises DecodeError when the file does not hold the same packets any more.
        """
        packets = None
        if self._whole and not (self._info.seekable and self._info.codec in SEEKABLE_CODECS):
            packets = [packet for packet in container.demux(stream) if packet.size]
            if len(packets) != self._num_packets:
                raise DecodeError(f"{path}: changes while it is being read")
        return Film(path, container, stream, self.info(), self._stamps.tolist(), packets)


_memory: Memory[_Known] = Memory(4_000_000)  # time stamps, 32 MB: two of each frame of 7,000 films of 10 seconds


def probe(path: Path, codecs: Collection[str] = LOOKED_INTO) -> StreamInfo:
    """Describe the best video stream of `path`, decoding nothing but its first frame; a file seen before is not opened.

    Files of other `codecs` are not looked into further, and said to need reading in order. Raises DecodeError when the
    file cannot be opened, holds no video, or its first frame does not decode.
    """
    known = _memory.get(_key(path, codecs))
    if known is not None:
        return known.info()
    with open_film(path, 1, codecs) as film:
        return film.info


def forget() -> None:
    """Look into every file as if it was the first time."""
    _memory.clear()


def _key(path: Path, codecs: Collection[str]) -> Hashable:
    return identity(path), tuple(codecs), PACKET_BUDGET_BYTES


@contextmanager
def open_film(path: Path, threads: int, codecs: Collection[str] = LOOKED_INTO) -> Iterator[Film]:
    """Open and demux `path`; what comes out describes it, and can decode it. Raises DecodeError as `probe` does."""
    key = _key(path, codecs)
    with open_stream(path, threads) as (container, stream):
        codec, format_name = stream.codec_context.name, container.format.name
        extradata = stream.codec_context.extradata or b""
        listed = codec in SEEKABLE_CODECS and codec in codecs and format_name in SEEKABLE_CONTAINERS
        counted = codec == "mpeg4" and codec in codecs and format_name == MPEG4_CONTAINER
        if listed:
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all
        if (known := _memory.get(key)) is not None:
            yield known.film(path, container, stream)
            return
        first: VideoFrame | None = None
        facts: list[PacketFacts] = []
        packets: list[Packet[VideoStream]] = []
        num_bytes = 0
        for packet in container.demux(stream):
            if first is None:
                first = next(iter(_decode_early(stream, packet) if not facts else packet.decode()), None)
            if first is not None and not (listed or counted):
                break
            if packet.size:
                facts.append(facts_of(packet, codec, extradata))
                num_bytes += packet.size
                if num_bytes <= PACKET_BUDGET_BYTES:
                    packets.append(packet)
        if first is None:
            raise DecodeError(f"{path}: no frame decodes; {MEND}")
        stream.codec_context.flush_buffers()
        whole = (listed or counted) and num_bytes <= PACKET_BUDGET_BYTES
        because, num_frames = f"{codec} in {format_name.split(',')[0]}", None
        if listed:
            because = why_in_order(facts)
        elif counted and whole:
            num_frames, enterable = mpeg4_facts(packets, extradata)
            keys = {place for place, fact in enumerate(facts) if fact.key}
            if enterable and keys == set(enterable):
                because = why_in_order(facts)
        rate, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
        if rate is None or time_base is None:
            raise DecodeError(f"{path}: the file states no frame rate")
        stamps = [] if because else [fact.pts for fact in facts if fact.pts is not None]
        played = sorted((fact.pts, fact.key) for fact in facts if fact.pts is not None and not because)
        info = StreamInfo(
            stream_index=stream.index,
            num_video_streams=len(container.streams.video),
            codec=codec,
            pixel_format=first.format.name,
            height=first.height,
            width=first.width,
            quarter_turns=_quarter_turns(path, first.rotation),
            fps_hz=float(rate),
            time_base=time_base,
            pts=tuple(stamp for stamp, _ in played),
            keys=tuple(index for index, (_, key) in enumerate(played) if key),
            num_frames=num_frames if because else len(facts),
            in_order_because=because,
            one_size=not because and all(fact.keeps_size for fact in facts),
        )
        film = Film(path, container, stream, info, stamps, packets if whole else None)
        known = _Known(film, len(facts))
        _memory.put(key, known, known.num_stamps)
        yield film


def _decode_early(stream: VideoStream, packet: "Packet[VideoStream]") -> list[VideoFrame]:
    """Return the frame in the first packet without the next ones, for which FFmpeg would wait; none when it needs them."""
    decoder = stream.codec_context
    frames = [*packet.decode(), *(decoder.decode(None) if packet.size else ())]
    decoder.flush_buffers()
    return frames or packet.decode()


def _quarter_turns(path: Path, degrees_counterclockwise: int) -> int:
    if degrees_counterclockwise % 90:
        raise DecodeError(f"{path}: rotated by {degrees_counterclockwise} degrees; allowed: multiples of 90")
    return degrees_counterclockwise // 90 % 4
