"""What the packets of a stream say about it before any is decoded: where it may be entered, and how many frames it has.

H.264 and HEVC by their units (ISO/IEC 14496-15), MPEG-4 part 2 by its pictures (ISO/IEC 14496-2, 6.2.3 and 6.2.5).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

NAL_SLICES, NAL_IDR = range(1, 6), 5
NAL_PARAMETERS = {"h264": 7, "hevc": 33}
VOP = b"\x00\x00\x01\xb6"  # a picture
VOL = re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01|\Z)", re.S)  # the parameters of those that follow
INTRA, PREDICTED, BIDIRECTIONAL = range(3)
PAIRS = ([INTRA, BIDIRECTIONAL], [PREDICTED, BIDIRECTIONAL])
EXTENDED_ASPECT = 15
PACKED = re.compile(rb"\x00\x00\x01\xb2DivX\d+(b|Build)\d+p")  # two pictures in one packet, an empty one in the next
MAX_EMPTY_VOP_BYTES = 19  # up to which FFmpeg takes a packet for such an empty one


class PacketFacts(NamedTuple):
    """What of a packet decides: its time stamp, and whether it is a key, starts a closed group, is whole, keeps the size."""

    pts: int | None
    key: bool
    clean_start: bool
    complete: bool
    keeps_size: bool


def facts_of(packet: "Packet[VideoStream]", codec: str, extradata: bytes) -> PacketFacts:
    """Look at one packet of H.264, HEVC or VP9. VP9 may change its size at any frame, the others with new parameters."""
    clean = codec != "h264"
    keeps_size = codec in NAL_PARAMETERS and not any(
        data.data_type == "new_extradata" for data in packet.iter_sidedata()
    )
    if packet.is_keyframe and codec in NAL_PARAMETERS:
        units = _nal_units(codec, bytes(packet), extradata)
        slices = [kind for kind, _ in units if kind in NAL_SLICES]
        # After an IDR picture no frame refers to anything before it; another kind of H.264 slice promises nothing.
        clean = codec != "h264" or (bool(slices) and all(kind == NAL_IDR for kind in slices))
        parameters = NAL_PARAMETERS[codec]
        keeps_size &= bool(units) and all(unit in extradata for kind, unit in units if kind == parameters)
    complete = not (packet.is_discard or packet.is_corrupt)
    return PacketFacts(packet.pts, packet.is_keyframe, clean, complete, keeps_size)


def _nal_units(codec: str, packet: bytes, extradata: bytes) -> list[tuple[int, bytes]]:
    """Return (type, content) of each unit of an H.264 or HEVC packet; none when units are not length-prefixed.

    Length prefixes are what mp4 and Matroska require.
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


def why_in_order(packets: Sequence[PacketFacts]) -> str:
    """Return why seeking among these packets (in file order) is not exact, or an empty string when it is."""
    pts = [packet.pts for packet in packets if packet.pts is not None]
    if len(set(pts)) < len(packets):
        return "packets without a time stamp of their own"
    if not all(packet.complete for packet in packets):
        return "packets that are damaged or cut off by an edit list"
    if not packets or not packets[0].key:
        return "a first packet that is no key frame"
    earliest_from_here = np.minimum.accumulate(pts[::-1])[::-1]
    for packet, stamp, earliest in zip(packets, pts, earliest_from_here, strict=True):
        if packet.key and (not packet.clean_start or earliest < stamp):
            return "open groups of pictures"
    return ""


class Mpeg4Facts(NamedTuple):
    """`num_frames` that decode, None where only decoding tells; `key_packets`: the intra pictures, at each of which the
    stream may be entered, when every packet holds one picture and none is bidirectional; otherwise empty.
    """

    num_frames: int | None
    key_packets: tuple[int, ...]


NOTHING_KNOWN = Mpeg4Facts(None, ())


class _Layer(NamedTuple):
    """Of the parameters: bits of a picture's time within its second, and whether pictures come in the order of playing."""

    increment_bits: int
    low_delay: int


def mpeg4_facts(packets: "Sequence[Packet[VideoStream]]", extradata: bytes) -> Mpeg4Facts:
    """Count the pictures of an MPEG-4 stream as FFmpeg decodes them, from their headers.

    Nothing is known of a stream with anything but the usual in it: sprites, other parameters on the way, a first picture
    that is not intra, a bidirectional one before the second reference, packed ones that no empty picture makes room for.
    """
    first = VOL.search(extradata)
    layer = _layer(first[0]) if first else None
    if layer is None:
        return NOTHING_KNOWN
    packed = PACKED.search(extradata) is not None
    kinds: list[list[int]] = []  # of the coded pictures of each packet
    for packet in packets:
        pictures = _pictures(bytes(packet), layer, packed)
        if pictures is None:
            return NOTHING_KNOWN
        coded = [kind for kind, is_coded in pictures if is_coded]
        if kinds and len(kinds[-1]) == 2:  # FFmpeg decodes the second one now, whatever comes
            if coded or len(pictures) != 1 or packet.size > MAX_EMPTY_VOP_BYTES:
                return NOTHING_KNOWN
        elif len(pictures) > 1 and not (packed and coded in PAIRS):
            return NOTHING_KNOWN
        kinds.append(coded)
    flat = [kind for coded in kinds for kind in coded]
    if not flat or flat[0] != INTRA or BIDIRECTIONAL in flat[:2] or max(flat) > BIDIRECTIONAL:
        return NOTHING_KNOWN
    if BIDIRECTIONAL in flat:
        lost = len(kinds[-1]) == 2  # the second of a last packet waits for one more that never comes
        return NOTHING_KNOWN if layer.low_delay else Mpeg4Facts(len(flat) - lost, ())
    keys = tuple(place for place, kind in enumerate(flat) if kind == INTRA)
    return Mpeg4Facts(len(flat), keys if len(flat) == len(kinds) else ())


def _pictures(packet: bytes, layer: _Layer, packed: bool) -> list[tuple[int, bool]] | None:
    """Return (type, whether it is coded) of each picture in a packet; None when a header is not as it must be.

    As FFmpeg does, looks for parameters in front of the first picture only, and for a second one only where `packed`.
    """
    start = packet.find(VOP)
    if start:
        front = packet[: start if start > 0 else None]
        if any(_layer(other) != layer for other in VOL.findall(front)) or bool(PACKED.search(front)) > packed:
            return None
    pictures = []
    while start >= 0:
        header, left = int.from_bytes(packet[start + 4 : start + 16].ljust(12, b"\0"), "big"), 94
        kind = header >> left
        while header >> (left := left - 1) & 1:  # a whole second
            if left < 40:
                return None
        first_mark, left = header >> left - 1 & 1, left - 1 - layer.increment_bits
        if not (first_mark and header >> left - 1 & 1):
            return None
        pictures.append((kind, header >> left - 2 & 1 == 1))
        start = packet.find(VOP, start + 4) if packed else -1
    return pictures


def _layer(parameters: bytes) -> _Layer | None:
    """Read a video object layer from its start code on; None where it is unusual."""
    value, left = int.from_bytes(parameters[4:], "big"), 8 * len(parameters[4:])

    def take(count: int) -> int:
        nonlocal left
        left -= count
        return value >> left & (1 << count) - 1 if left >= 0 else 0

    take(1 + 8)
    if take(1):
        take(4 + 3)
    if take(4) == EXTENDED_ASPECT:
        take(16)
    low_delay = 1
    if take(1):
        take(2)
        low_delay = take(1)
        if take(1):
            take(79)
    rectangular, mark, resolution = take(2) == 0, take(1), take(16)
    usual = rectangular and mark and resolution and left >= 0
    return _Layer(max(1, (resolution - 1).bit_length()), low_delay) if usual else None
