"""MPEG-4 part 2 (Xvid, DivX): what the headers of its pictures say."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from av.packet import Packet
from av.video.stream import VideoStream

from videoadapt.video.decoders._packets import BIDIRECTIONAL, INTRA, PREDICTED

VOP = b"\x00\x00\x01\xb6"  # a picture
VOL = re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01|\Z)", re.S)  # the parameters of those that follow
PAIRS = ([INTRA, BIDIRECTIONAL], [PREDICTED, BIDIRECTIONAL])
EXTENDED_ASPECT = 15
PACKED = re.compile(rb"\x00\x00\x01\xb2DivX\d+(b|Build)\d+p")  # two pictures in one packet, an empty one in the next
MAX_EMPTY_VOP_BYTES = 19  # up to which FFmpeg takes a packet for such an empty one


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
