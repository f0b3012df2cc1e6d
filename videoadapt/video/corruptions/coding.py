"""The film encoded as H.264 and decoded again, whole or with packets that got lost on the way.

x264 and the decoder run in one thread each: with several, pixels depend on their number.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from videoadapt.video.corruptions._kinds import Frames, kind
from videoadapt.video.x264 import x264_params

RATE_HZ = 25
SLICES = 4  # of a frame, one above another, each in a packet of its own
_SLICE_TYPES = (1, 5)  # of NAL units that hold pixels (ITU-T H.264, table 7-1); 5: of a frame that needs no other
_ONE_THREAD = "threads=1:lookahead-threads=1:sliced-threads=0"


@kind(23, 30, 37, 44, 51, in_time=True)
def h264(frames_THWC: Frames, level: int, rng: np.random.Generator) -> Frames:
    """x264 at this constant rate factor, with its own settings otherwise (Yi et al. 2021, H.264 CRF)."""
    return _decoded(_encoded(frames_THWC, {"crf": str(level)}), frames_THWC)


@kind(0.02, 0.05, 0.1, 0.2, 0.4, in_time=True)
def packet_loss(frames_THWC: Frames, level: float, rng: np.random.Generator) -> Frames:
    """A live stream (crf 23, one key frame, four packets a frame) of which each packet is lost with this probability.

    Those of the key frame, and the headers, arrive. The decoder conceals what is missing; of a frame without any packet the
    one before stands. The definition is ours.
    """
    options = {"crf": "23", "preset": "veryfast", "tune": "zerolatency", "slices": str(SLICES), "g": "100000"}
    packets = _encoded(frames_THWC, options)
    return _decoded(((pts, _thinned(data, level, rng)) for pts, data in packets), frames_THWC)


def _encoded(frames_THWC: Frames, options: dict[str, str]) -> Iterator[tuple[int, bytes]]:
    """Numbers of frames and their NAL units, in the order of decoding; sides are made even by repeating the last pixels."""
    _, height, width, _ = frames_THWC.shape
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE_HZ), Fraction(RATE_HZ)
    encoder.thread_count, encoder.options = 1, {**options, "x264-params": x264_params(_ONE_THREAD)}
    frames_THWC = np.pad(frames_THWC, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    for number, frame_HWC in enumerate(frames_THWC):
        frame = VideoFrame.from_ndarray(frame_HWC, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = number, encoder.time_base
        yield from _numbered(encoder.encode(frame))
    yield from _numbered(encoder.encode(None))


def _numbered(packets: list[Any]) -> Iterator[tuple[int, bytes]]:
    return ((packet.pts, bytes(packet)) for packet in packets)


def _thinned(data: bytes, loss: float, rng: np.random.Generator) -> bytes:
    """The NAL units of a frame that arrive."""
    units = _units(data)
    if any(_type(unit) == _SLICE_TYPES[1] for unit in units):
        return data
    return b"".join(unit for unit in units if _type(unit) not in _SLICE_TYPES or rng.random() >= loss)


def _units(data: bytes) -> list[bytes]:
    """NAL units, each with its start code 00 00 01, which stands nowhere else (ITU-T H.264, annex B)."""
    return [b"\0\0\1" + unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]


def _type(unit: bytes) -> int:
    return unit[3] & 31


def _decoded(packets: Iterator[tuple[int, bytes]], frames_THWC: Frames) -> Frames:
    """The frames that come out, each at its place; at one where none comes, the one before."""
    num_frames, height, width, _ = frames_THWC.shape
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count, decoder.thread_type = 1, "SLICE"
    decoder.options = {"flags": "+output_corrupt", "ec": "guess_mvs+deblock"}
    seen = np.full(num_frames, -1)
    found = np.empty_like(frames_THWC)
    for frame in _frames_of(decoder, packets):
        shown = frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU601, src_color_range=ColorRange.MPEG)
        found[frame.pts], seen[frame.pts] = shown.to_ndarray()[:height, :width], frame.pts
    assert seen[0] == 0, "the key frame did not come out of the decoder"
    return found[np.maximum.accumulate(seen)]


def _frames_of(decoder: VideoCodecContext, packets: Iterator[tuple[int, bytes]]) -> Iterator[VideoFrame]:
    for pts, data in packets:
        if data:
            packet = av.Packet(data)
            packet.pts = pts
            yield from decoder.decode(packet)
    yield from decoder.decode(None)
