"""What one video file really holds, and whether a decoder gives its frames: everything decoded, nothing believed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from videoadapt.errors import DecodeError
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._probe import as_decode_error, open_stream, probe

NUM_SEEKS = 8
GREY_LEVELS = 2  # that a pixel may differ by: room for a swscale that rounds otherwise; 0 is what is seen


@dataclass(frozen=True)
class Inspection:
    """A file that decodes. Pixels are those that a decoder gives, so after rotation."""

    size_bytes: int
    sha256: str
    codec: str
    height: int
    width: int
    fps_hz: float
    header_frames: int  # what the header announces; 0 where it says nothing (Matroska)
    frames: int  # what decodes in order
    damaged_frames: int  # of these, marked by FFmpeg as damaged
    decoder: str  # the one that reads it: the configured one, or the one that took over
    in_order_because: str  # why it is read in order; empty where it is read by seeking
    wrong: str  # how the decoder's frames differ from those read in order; empty when they are the same


def inspect_file(path: Path, decoder: Mapping[str, Any]) -> Inspection | DecodeError:
    """Decode `path` from its first frame to its last, and let `decoder` find some of its frames by their indices.

    The frames asked for are the first, the last and six between, one by one in a scattered order that depends on the
    content. Returns the DecodeError of a file that cannot be read.
    """
    try:
        with as_decode_error(path), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        info = probe(path)
        with open_video(path, decoder) as opened:
            counted = opened.num_frames
            rng = np.random.default_rng(digest.digest()[0])
            between = rng.integers(0, counted, NUM_SEEKS - 2)
            wanted = rng.permutation(np.unique([0, counted - 1, *between])).tolist()
            found = {index: opened.get([index])[0] for index in wanted}
            height, width, name = opened.height, opened.width, type(opened).__module__.rpartition(".")[2]
        frames, damaged, header_frames, reference = _read_in_order(path, wanted, info.quarter_turns)
    except DecodeError as error:
        return error
    return Inspection(
        size_bytes=path.stat().st_size,
        sha256=digest.hexdigest(),
        codec=info.codec,
        height=height,
        width=width,
        fps_hz=info.fps_hz,
        header_frames=header_frames,
        frames=frames,
        damaged_frames=damaged,
        decoder=name,
        in_order_because=info.in_order_because,
        wrong=f"{counted} frames, in order {frames}" if counted != frames else _difference(found, reference),
    )


def _read_in_order(
    path: Path, wanted: Sequence[int], quarter_turns: int
) -> tuple[int, int, int, dict[int, np.ndarray]]:
    """Frames that decode, those that are damaged, frames that the header announces, and the wanted ones in RGB (H, W, 3)."""
    reformatter, keep = VideoReformatter(), set(wanted)
    frames_HWC: dict[int, np.ndarray] = {}
    count = damaged = 0
    with open_stream(path, 1) as (container, stream):
        header_frames = stream.frames
        for frame in container.decode(stream):
            if count in keep:
                rgb_HWC = reformatter.reformat(frame, format="rgb24").to_ndarray()
                frames_HWC[count] = np.rot90(rgb_HWC, quarter_turns)
            damaged += frame.is_corrupt
            count += 1
    return count, damaged, header_frames, frames_HWC


def _difference(found: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray]) -> str:
    """Name the first frame that is not the one read in order."""
    for index, frame_HWC in sorted(found.items()):
        expected_HWC = reference[index]
        if frame_HWC.shape != expected_HWC.shape:
            return f"frame {index} is {frame_HWC.shape}, in order {expected_HWC.shape}"
        if np.abs(frame_HWC.astype(np.int16) - expected_HWC).max() > GREY_LEVELS:
            return f"frame {index} is another picture than in order"
    return ""
