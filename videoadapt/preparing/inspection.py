"""What one video file really holds, and whether a decoder gives its frames: everything decoded, nothing believed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av.logging
import numpy as np

from videoadapt.errors import DecodeError
from videoadapt.video.decoders import open_video, reads_pictures
from videoadapt.video.decoders._opening import as_decode_error, open_stream
from videoadapt.video.decoders._pictures import Pictures
from videoadapt.video.decoders._probe import probe
from videoadapt.video.decoders._rate import mean_rate_hz
from videoadapt.video.decoders._stream import StreamInfo
from videoadapt.video.files import open_bytes, state_of

NUM_SEEKS = 8
HDR = {16: "PQ", 18: "HLG"}  # curves of levels by their codes in ITU-T H.273
GREY_LEVELS = 2  # that a pixel may differ by: room for a swscale that rounds otherwise; 0 is what is seen


@dataclass(frozen=True)
class Inspection:
    """A file that decodes. Pixels are those that a decoder gives, so after rotation."""

    size_bytes: int
    sha256: str  # of the file; of a picture, or a folder of frames, over the pixels of them all
    codec: str
    height: int
    width: int
    pixel_aspect: (
        str  # width of a stored pixel : its height, "1:1" where the file says nothing; decoders take it for square
    )
    fps_hz: float  # mean, by the time stamps; what the header says where frames have none; 0 of a folder, unless stated
    header_frames: int  # what the header announces; 0 where it says nothing (Matroska)
    frames: int  # what decodes in order
    interlaced_frames: int  # of these, pictures of two moments; decoders take each for one
    hdr: str  # the curve of its levels where that is one of HDR films, which decoders take for the ordinary one; or empty
    damaged_frames: int  # of these, marked by FFmpeg as damaged, of which it conceals what it can
    complaint: str  # the first error that FFmpeg reports while it reads on; empty for a sound file
    decoder: str  # the one that reads it: the configured one, or the one that took over
    in_order_because: str  # why it is read in order; empty where it is read by seeking
    wrong: str  # how the decoder's frames differ from those read in order; empty when they are the same


def inspect_file(path: Path, decoder: Mapping[str, Any]) -> Inspection | DecodeError:
    """Decode `path` from its first frame to its last, and let `decoder` find some of its frames by their indices.

    The frames asked for are the first, the last and six between, one by one in a scattered order that depends on the
    content. Returns the DecodeError of a file that cannot be read. A folder of frames is read from the first to the last.
    """
    if reads_pictures(decoder):
        return _inspect_pictures(path, decoder)
    try:
        info = probe(path)
        with as_decode_error(path), open_bytes(path) as file:
            digest, size_bytes = hashlib.file_digest(file, "sha256"), file.tell()
        with open_video(path, decoder) as opened:
            counted = opened.num_frames
            rng = np.random.default_rng(digest.digest()[0])
            between = rng.integers(0, counted, NUM_SEEKS - 2)
            wanted = rng.permutation(np.unique([0, counted - 1, *between])).tolist()
            found = {index: opened.get([index])[0] for index in wanted}
            height, width, name = opened.height, opened.width, type(opened).__module__.rpartition(".")[2]
        in_order = _read_in_order(path, wanted, info, decoder.get("levels"))
    except DecodeError as error:
        return error
    return Inspection(
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        codec=info.codec,
        height=height,
        width=width,
        pixel_aspect=f"{info.pixel_aspect.numerator}:{info.pixel_aspect.denominator}",
        fps_hz=in_order.fps_hz,
        header_frames=in_order.header_frames,
        frames=in_order.frames,
        interlaced_frames=in_order.interlaced,
        hdr=in_order.hdr,
        damaged_frames=in_order.damaged,
        complaint=in_order.complaint,
        decoder=name,
        in_order_because=info.in_order_because,
        wrong=_difference(found, in_order.wanted)
        if counted == in_order.frames
        else f"{counted} frames, in order {in_order.frames}",
    )


def _inspect_pictures(path: Path, decoder: Mapping[str, Any]) -> Inspection | DecodeError:
    """Each picture is a file of its own, so that there is no order to go by, and no header to believe."""
    digest, count = hashlib.sha256(), 0
    try:
        with open_video(path, decoder) as opened:
            for frame_HWC in opened:
                digest.update(frame_HWC.tobytes())
                count += 1
            damaged = len(opened.damaged or ())
            height, width, fps_hz = opened.height, opened.width, opened.fps_hz
    except DecodeError as error:
        return error
    state = state_of(path)
    return Inspection(
        size_bytes=state.size if state else 0,
        sha256=digest.hexdigest(),
        codec="pictures",
        height=height,
        width=width,
        pixel_aspect="1:1",
        fps_hz=fps_hz or 0.0,
        header_frames=0,
        frames=count,
        interlaced_frames=0,
        hdr="",
        damaged_frames=damaged,
        complaint="",
        decoder=str(decoder["name"]),
        in_order_because="",
        wrong="",
    )


class _InOrder(NamedTuple):
    """What a decode from the first frame to the last finds; `wanted` are the pictures asked for, RGB (H, W, 3)."""

    frames: int
    interlaced: int
    damaged: int
    hdr: str
    header_frames: int
    fps_hz: float
    complaint: str
    wanted: dict[int, np.ndarray]


def _read_in_order(path: Path, wanted: Sequence[int], info: StreamInfo, levels: Sequence[int] | None) -> _InOrder:
    pictures, keep = Pictures(None if levels is None else (levels[0], levels[1])), set(wanted)
    frames_HWC: dict[int, np.ndarray] = {}
    count = interlaced = damaged = 0
    hdr = ""
    stamps: list[int] = []
    with _errors_of_ffmpeg() as errors, open_stream(path, 1) as (container, stream):
        header_frames = stream.frames
        for frame in container.decode(stream):
            if count in keep:
                frames_HWC[count] = info.orientation.upright(pictures.rgb(frame), axes=(0, 1))
            interlaced += frame.interlaced_frame
            damaged += frame.is_corrupt
            hdr = hdr or HDR.get(frame.color_trc, "")
            if frame.pts is not None:
                stamps.append(frame.pts)
            count += 1
    rate = Fraction(info.fps_hz)
    fps_hz = mean_rate_hz(sorted(stamps), info.time_base, rate) if len(stamps) == count else info.fps_hz
    return _InOrder(count, interlaced, damaged, hdr, header_frames, fps_hz, next(iter(errors), ""), frames_HWC)


@contextmanager
def _errors_of_ffmpeg() -> Iterator[list[str]]:
    """A list that fills with the errors which FFmpeg reports and reads on after, each with the name of who reports it."""
    errors: list[str] = []
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # it would report the last file's error again, with this one's
    try:
        with av.logging.Capture(local=False) as lines:
            yield errors
            errors += [f"{name}: {text.strip()}" for _, name, text in lines]
    finally:
        av.logging.set_skip_repeated(skips)
        av.logging.set_level(level)


def _difference(found: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray]) -> str:
    """Name the first frame that is not the one read in order."""
    for index, frame_HWC in sorted(found.items()):
        expected_HWC = reference[index]
        if frame_HWC.shape != expected_HWC.shape:
            return f"frame {index} is {frame_HWC.shape}, in order {expected_HWC.shape}"
        if np.abs(frame_HWC.astype(np.int16) - expected_HWC).max() > GREY_LEVELS:
            return f"frame {index} is another picture than in order"
    return ""
