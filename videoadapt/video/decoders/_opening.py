"""A file opened as a video: its best stream, or one DecodeError that says what is in the way."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from videoadapt.errors import DecodeError
from videoadapt.video.decoders._other_files import other_kind
from videoadapt.video.decoders._truncation import missing_bytes
from videoadapt.video.files import address_of, why_no_video

FILE_ERRORS: tuple[type[Exception], ...] = (av.FFmpegError, OSError, ValueError)
MEND = "copy it again, or encode it anew"
# Film grain that H.264 and HEVC describe is left out: FFmpeg 4 adds none, and 5 other noise than 7 and 8.
GRAINED, WITHOUT_GRAIN = ("h264", "hevc", "vvc"), {"export_side_data": "film_grain"}
DECORD_PREFIX = re.compile(r"^(\[[\d:]+\] \S+: )+(Check failed: .*? \(\S+ vs\. \S+\) )?")


@contextmanager
def as_decode_error(path: Path, *also: type[Exception]) -> Iterator[None]:
    """Turn what FFmpeg, the file system, or the exception types in `also` raise into a DecodeError naming `path`."""
    try:
        yield
    except (*FILE_ERRORS, *also) as error:
        raise DecodeError(f"{path}: {why_no_video(path) or other_kind(path) or _what_it_says(error)}") from error


def _what_it_says(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, av.InvalidDataError):
        return error.strerror or str(error)
    # decord puts its C++ stack below the first line, and time, source file and condition before the message.
    message = getattr(error, "strerror", None) or DECORD_PREFIX.sub("", str(error).partition("\n")[0])
    return f"is damaged, cut off, or no video ({message}); {MEND}"


def leave_grain_out(stream: VideoStream) -> None:
    """Let a stream that is not decoded yet come without film grain that H.264 or HEVC describe."""
    if stream.codec_context.name in GRAINED:
        stream.codec_context.options = WITHOUT_GRAIN


@contextmanager
def open_stream(path: Path, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open `path` and its best video stream (FFmpeg's choice). Raises DecodeError when it holds none, or is cut off."""
    if reason := why_no_video(path):  # opening a pipe would wait for whoever writes into it
        raise DecodeError(f"{path}: {reason}")
    # metadata may be in any encoding
    with as_decode_error(path), av.open(address_of(path), metadata_errors="ignore") as container:
        stream = container.streams.best("video")
        # FFmpeg renders text files as a film of a terminal, and a song's cover counts as a video stream.
        if not isinstance(stream, VideoStream) or container.format.name == "tty":
            raise DecodeError(f"{path}: {other_kind(path) or 'no video stream'}")
        if stream.codec_context is None:
            raise DecodeError(f"{path}: FFmpeg has no decoder for its video; convert it with the tool that made it")
        if stream.disposition & Disposition.attached_pic:
            raise DecodeError(f"{path}: no video stream, only a cover picture")
        if missing := missing_bytes(path, container.format.name):
            raise DecodeError(f"{path}: is cut off, its last {missing} bytes are missing; {MEND}")
        leave_grain_out(stream)
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        yield container, stream
