"""The files that decoders other than PyAV may take: those in which seeking is exact, without grey values to be scaled."""

from pathlib import Path

from videoadapt.video.decoders._base import CannotRead
from videoadapt.video.decoders._grey import GREY, Levels
from videoadapt.video.decoders._probe import SEEKABLE_CODECS, probe
from videoadapt.video.decoders._stream import StreamInfo

EXACT_PIXEL_FORMATS = ("yuv420p", "yuvj420p")  # that others make RGB of as PyAV does


def seekable(path: Path, levels: Levels | None) -> StreamInfo:
    """Describe such a file. Raises CannotRead for every other one, and DecodeError as `probe` does."""
    if levels is not None:
        raise CannotRead(path, GREY)
    info = probe(path, SEEKABLE_CODECS)
    if not info.seekable:
        raise CannotRead(path, f"no exact seeking in {info.in_order_because}")
    return info
