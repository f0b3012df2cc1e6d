"""What a video file holds, found by demuxing it: which stream, which frames, and whether seeking in it is exact.

Seeking is an allow-list, because on other files a seek lands on a wrong frame without any error (mpeg4 with packed
B-frames in avi, mpg, ts, open groups of pictures): those are read in order. Each file is opened and demuxed once.
"""

from array import array
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videoadapt.errors import DecodeError
from videoadapt.video.decoders._lru import Memory, identity
from videoadapt.video.decoders._mpeg4 import mpeg4_facts
from videoadapt.video.decoders._opening import MEND, open_stream
from videoadapt.video.decoders._orientation import orientation_of
from videoadapt.video.decoders._packets import (
    OTHER_PARAMETERS,
    PacketFacts,
    facts_of,
    of_old_x264,
    one_vp9_colour,
    why_in_order,
)
from videoadapt.video.decoders._rate import evenly_spaced, mean_rate_hz, stated_rate
from videoadapt.video.decoders._stream import DemuxedVideo, StreamInfo

SEEKABLE_CODECS = ("h264", "hevc", "vp9")
SEEKABLE_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
MPEG4_CONTAINER = "avi"
LOOKED_INTO = (*SEEKABLE_CODECS, "mpeg4")
PACKET_BUDGET_BYTES = 64 * 2**20  # of compressed video that is kept in memory; larger and longer files are read again
PACKET_ITSELF_BYTES = 1000  # what PyAV 18 and FFmpeg hold for each beside its data: measured 690 to 980


class _Known:
    """A video without its file: what was found out, in few bytes."""

    def __init__(self, video: DemuxedVideo, num_packets: int):
        self._info = replace(video.info, pts=(), keys=())
        self._pts, self._keys, self._stamps = (array("q", x) for x in (video.info.pts, video.info.keys, video.stamps))
        self._whole, self._num_packets = video.packets is not None, num_packets
        self.num_stamps = 100 + len(self._pts) + len(self._keys) + len(self._stamps)

    def info(self) -> StreamInfo:
        """The description, as it was."""
        return replace(self._info, pts=tuple(self._pts), keys=tuple(self._keys))

    def reopened(self, path: Path, container: InputContainer, stream: VideoStream) -> DemuxedVideo:
        """The video, from its file opened anew; packets are demuxed now only where seeking does not find them.

        Raises DecodeError when the file does not hold the same packets any more.
        """
        packets = None
        if self._whole and not (self._info.seekable and self._info.codec in SEEKABLE_CODECS):
            packets = [packet for packet in container.demux(stream) if packet.size]
            if len(packets) != self._num_packets:
                raise DecodeError(f"{path}: changes while it is being read")
        return DemuxedVideo(path, container, stream, self.info(), self._stamps.tolist(), packets)


_memory: Memory[_Known] = Memory(4_000_000)  # time stamps, 32 MB: two of each frame of 7,000 videos of 10 seconds


def probe(path: Path, codecs: Collection[str] = LOOKED_INTO) -> StreamInfo:
    """Describe the best video stream of `path`, decoding nothing but its first frame; a file seen before is not opened.

    Files of other `codecs` are not looked into further, and said to need reading in order. Raises DecodeError when the
    file cannot be opened, holds no video, or its first frame does not decode.
    """
    known = _memory.get(_key(path, codecs))
    if known is not None:
        return known.info()
    with open_demuxed(path, 1, codecs) as video:
        return video.info


def forget() -> None:
    """Look into every file as if it was the first time."""
    _memory.clear()


def _key(path: Path, codecs: Collection[str]) -> Hashable:
    return identity(path), tuple(codecs), PACKET_BUDGET_BYTES


@contextmanager
def open_demuxed(path: Path, threads: int, codecs: Collection[str] = LOOKED_INTO) -> Iterator[DemuxedVideo]:
    """Open and demux `path`; what comes out describes it, and can decode it. Raises DecodeError as `probe` does."""
    key = _key(path, codecs)
    with open_stream(path, threads) as (container, stream):
        codec, format_name = stream.codec_context.name, container.format.name
        listed = codec in SEEKABLE_CODECS and codec in codecs and format_name in SEEKABLE_CONTAINERS
        counted = codec == "mpeg4" and codec in codecs and format_name == MPEG4_CONTAINER
        if listed:
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all
        if (known := _memory.get(key)) is not None:
            yield known.reopened(path, container, stream)
            return
        demuxed = _demux(path, container, stream, to_the_end=listed or counted)
        because, num_frames = f"{codec} in {format_name.split(',')[0]}", None
        if listed:
            because = why_in_order(demuxed.facts)
            if not because and demuxed.of_old_x264 and _has_full_chroma(demuxed.first):
                because = "4:4:4 pictures of an x264 that only the first packet names"
        elif counted and demuxed.packets is not None:
            num_frames, enterable = mpeg4_facts(demuxed.packets, stream.codec_context.extradata or b"")
            keys = {place for place, fact in enumerate(demuxed.facts) if fact.key}
            if enterable and keys == set(enterable):
                because = why_in_order(demuxed.facts)
        info = _describe(path, container, stream, demuxed, because, num_frames)
        stamps = [] if because else [fact.pts for fact in demuxed.facts if fact.pts is not None]
        packets = None if because == OTHER_PARAMETERS else demuxed.packets
        video = DemuxedVideo(path, container, stream, info, stamps, packets)
        known = _Known(video, len(demuxed.facts))
        _memory.put(key, known, known.num_stamps)
        yield video


class _Demuxed(NamedTuple):
    """The first frame; what decides of each packet, in the order of the file; the packets, None where not all are kept."""

    first: VideoFrame
    facts: list[PacketFacts]
    packets: "list[Packet[VideoStream]] | None"
    of_old_x264: bool


def _demux(path: Path, container: InputContainer, stream: VideoStream, to_the_end: bool) -> _Demuxed:
    """Read the packets up to the first frame, or to the end. Raises DecodeError when no frame decodes."""
    codec, extradata = stream.codec_context.name, stream.codec_context.extradata or b""
    first: VideoFrame | None = None
    facts: list[PacketFacts] = []
    packets: list[Packet[VideoStream]] = []
    num_bytes, old = 0, False
    for packet in container.demux(stream):
        if not facts and packet.has_sidedata("encryption_info"):
            raise DecodeError(f"{path}: is encrypted; decrypt it first")
        if first is None:
            first = next(iter(_decode_early(stream, packet) if not facts else packet.decode()), None)
        if first is not None and not to_the_end:
            break
        if packet.size:
            old |= codec == "h264" and not facts and of_old_x264(bytes(packet))
            facts.append(facts_of(packet, codec, extradata))
            num_bytes += packet.size + PACKET_ITSELF_BYTES
            if num_bytes <= PACKET_BUDGET_BYTES:
                packets.append(packet)
    if first is None:
        raise DecodeError(f"{path}: no frame decodes; {MEND}")
    stream.codec_context.flush_buffers()
    return _Demuxed(first, facts, packets if to_the_end and num_bytes <= PACKET_BUDGET_BYTES else None, old)


def _describe(
    path: Path, container: InputContainer, stream: VideoStream, demuxed: _Demuxed, because: str, num_frames: int | None
) -> StreamInfo:
    """Put together what is known; `because` and `num_frames` as in StreamInfo. Raises DecodeError where no rate is stated."""
    first, facts = demuxed.first, demuxed.facts
    codec, rate, time_base = stream.codec_context.name, stated_rate(stream), stream.time_base
    if rate is None or time_base is None:
        raise DecodeError(f"{path}: the file states no frame rate")
    played = sorted((fact.pts, fact.key, fact.duration) for fact in facts if fact.pts is not None and not because)
    pts = tuple(stamp for stamp, _, _ in played)
    return StreamInfo(
        stream_index=stream.index,
        num_video_streams=len(container.streams.video),
        codec=codec,
        pixel_format=first.format.name,
        height=first.height,
        width=first.width,
        orientation=orientation_of(path, first),
        pixel_aspect=_pixel_aspect(stream),
        matrix=first.colorspace,
        fps_hz=mean_rate_hz(pts, time_base, rate),
        time_base=time_base,
        pts=pts,
        keys=tuple(index for index, (_, key, _) in enumerate(played) if key),
        num_frames=num_frames if because else len(facts),
        in_order_because=because,
        one_size=not because and all(fact.keeps_size for fact in facts),
        one_colour=not because and (codec != "vp9" or one_vp9_colour(facts)),
        film_grain=any(fact.grain for fact in facts),
        last_duration=played[-1][2] if played else 0,
        # a packed stream has one packet more than frames; more of them without a picture are frames that stay longer
        even=num_frames is not None and len(facts) - num_frames <= 1 and evenly_spaced([fact.pts for fact in facts]),
    )


def _pixel_aspect(stream: VideoStream) -> Fraction:
    stated = stream.sample_aspect_ratio
    return stated if stated is not None and stated > 0 else Fraction(1)


def _has_full_chroma(frame: VideoFrame) -> bool:
    return all((part.width, part.height) == (frame.width, frame.height) for part in frame.format.components)


def _decode_early(stream: VideoStream, packet: "Packet[VideoStream]") -> list[VideoFrame]:
    """Return the frame in the first packet without the next ones, for which FFmpeg would wait; none when it needs them."""
    decoder = stream.codec_context
    frames = [*packet.decode(), *(decoder.decode(None) if packet.size else ())]
    decoder.flush_buffers()
    return frames or packet.decode()
