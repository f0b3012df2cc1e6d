"""What the packets of a stream say about it before any is decoded: where it may be entered, and how many frames it has.

H.264 and HEVC by their units (ISO/IEC 14496-15), MPEG-4 part 2 by its pictures (ISO/IEC 14496-2, 6.2.3 and 6.2.5).
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

NAL_SLICES, NAL_IDR = range(1, 6), 5
NAL_PARAMETERS = {"h264": 7, "hevc": 33}
NAL_MESSAGES, NAL_PICTURES = {"h264": 6, "hevc": 39}, {"h264": NAL_SLICES, "hevc": range(32)}
FILM_GRAIN = 19  # the kind of a message (SEI), in H.264 D.1 and HEVC D.2
X264_OF_SPEC = 151  # the first build whose 4:4:4 pictures FFmpeg reads by the standard alone
OTHER_PARAMETERS = "parameters that change on the way"
INTRA, PREDICTED, BIDIRECTIONAL = range(3)


class PacketFacts(NamedTuple):
    """What of a packet decides: its time stamp and duration, and whether it is a key, starts a closed group, is whole.

    `keeps_size`: no picture from here on is known or suspected to have another size. `parameters`: it brings others than
    the file starts with. `colour`, of VP9's keys: matrix and range, which each of them states anew; 0 elsewhere. `grain`: it
    describes film grain, which a player adds to the picture.
    """

    pts: int | None
    duration: int  # 0 where the file does not say
    key: bool
    clean_start: bool
    complete: bool
    keeps_size: bool
    parameters: bool
    colour: int
    grain: bool = False


def facts_of(packet: "Packet[VideoStream]", codec: str, extradata: bytes) -> PacketFacts:
    """Look at one packet of H.264, HEVC or VP9. VP9 may change its size at any frame, the others with new parameters."""
    clean = codec != "h264"
    known = codec in NAL_PARAMETERS
    parameters = known and any(data.data_type == "new_extradata" for data in packet.iter_sidedata())
    grain = known and _describes_grain(codec, bytes(packet), extradata)
    if packet.is_keyframe and codec in NAL_PARAMETERS:
        units = list(_nal_units(codec, bytes(packet), extradata))
        slices = [kind for kind, _ in units if kind in NAL_SLICES]
        # After an IDR picture no frame refers to anything before it; another kind of H.264 slice promises nothing.
        clean = codec != "h264" or (bool(slices) and all(kind == NAL_IDR for kind in slices))
        known = bool(units)
        parameters |= any(unit not in extradata for kind, unit in units if kind == NAL_PARAMETERS[codec])
    # VP9 specification, 7.2.2, in profile 0; pictures of the other profiles are not 8-bit 4:2:0.
    colour = memoryview(packet)[4] >> 4 if codec == "vp9" and packet.is_keyframe and packet.size > 4 else 0
    complete = not (packet.is_discard or packet.is_corrupt)
    return PacketFacts(
        packet.pts,
        packet.duration or 0,
        packet.is_keyframe,
        clean,
        complete,
        known and not parameters,
        parameters,
        colour,
        grain,
    )


def of_old_x264(packet: bytes) -> bool:
    """Whether this first packet of H.264 names an x264 whose 4:4:4 pictures FFmpeg reads in that version's own way.

    It stands in the first packet only, and FFmpeg reads all that follows a seek as the standard has it: other pictures.
    """
    found = re.search(rb"x264 - core (\d+)", packet)
    return found is not None and int(found[1]) < X264_OF_SPEC


def _describes_grain(codec: str, packet: bytes, extradata: bytes) -> bool:
    for kind, unit in _nal_units(codec, packet, extradata):
        if kind in NAL_PICTURES[codec]:
            break  # messages stand in front
        if kind == NAL_MESSAGES[codec] and FILM_GRAIN in _messages(unit[1 if codec == "h264" else 2 :]):
            return True
    return False


def _messages(content: bytes) -> Iterator[int]:
    """Yield the kind of each message of a unit (H.264 7.3.2.3, HEVC 7.3.2.4): a number is a sum that ends before 255."""
    content, place = content.replace(b"\0\0\3", b"\0\0"), 0
    while place + 2 < len(content):  # the last byte is the unit's end
        kind_and_size = [0, 0]
        for which in range(2):
            while content[place : place + 1] == b"\xff":
                kind_and_size[which], place = kind_and_size[which] + 255, place + 1
            kind_and_size[which], place = kind_and_size[which] + sum(content[place : place + 1]), place + 1
        yield kind_and_size[0]
        place += kind_and_size[1]


def _nal_units(codec: str, packet: bytes, extradata: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, content) of each unit of an H.264 or HEVC packet; none when units are not length-prefixed.

    Length prefixes are what mp4 and Matroska require.
    """
    size_at, shift, mask = (4, 0, 31) if codec == "h264" else (21, 1, 63)
    if len(extradata) <= size_at or extradata[0] != 1:
        return
    prefix, start = (extradata[size_at] & 3) + 1, 0
    while start + prefix < len(packet):
        end = start + prefix + int.from_bytes(packet[start : start + prefix], "big")
        yield packet[start + prefix] >> shift & mask, packet[start + prefix : end]
        start = end


def one_vp9_colour(packets: Sequence[PacketFacts]) -> bool:
    """True when all key frames of VP9 state the same matrix and range."""
    return len({packet.colour for packet in packets if packet.key}) < 2


def why_in_order(packets: Sequence[PacketFacts]) -> str:
    """Return why seeking among these packets (in file order) is not exact, or an empty string when it is."""
    pts = [packet.pts for packet in packets if packet.pts is not None]
    if len(set(pts)) < len(packets):
        return "packets without a time stamp of their own"
    if not all(packet.complete for packet in packets):
        return "packets that are damaged or cut off by an edit list"
    # colours that later parameters leave open would be those of what was read before
    if any(packet.parameters for packet in packets):
        return OTHER_PARAMETERS
    if not packets or not packets[0].key:
        return "a first packet that is no key frame"
    earliest_from_here = np.minimum.accumulate(pts[::-1])[::-1]
    for packet, stamp, earliest in zip(packets, pts, earliest_from_here, strict=True):
        if packet.key and (not packet.clean_start or earliest < stamp):
            return "open groups of pictures"
    return ""
