"""The right frames of a clip with one library and nothing around it: what the loader is compared with."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._probe import probe


def limit_of(path: Path, decoder: str) -> tuple[Callable[[list[int]], object], str]:
    """Return the fastest way known to give the right frames of this file with the library, and the library's name.

    It is told what we find out about the file (whether, and where, it may be entered), and checks nothing. A file that
    the library does not read rightly is read with PyAV.
    """
    with open_video(path, {"name": decoder}) as opened:
        reader = type(opened).__module__.rpartition(".")[2]
    if reader == "pyav":
        info = probe(path)
        keys = [(index, info.pts[index]) for index in info.keys]
        return partial(pyav_limit, str(path.absolute()), keys, info.pts), reader
    return partial({"decord": decord_limit, "torchcodec": torchcodec_limit}[reader], str(path.absolute())), reader


def decord_limit(path: str, indices: list[int]) -> Any:
    """Frames (N, H, W, 3) with decord alone."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(path, num_threads=1).get_batch(indices).asnumpy()


def torchcodec_limit(path: str, indices: list[int]) -> Any:
    """Frames (N, H, W, 3) with torchcodec alone."""
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1).get_frames_at(indices).data


def pyav_limit(path: str, keys: Sequence[tuple[int, int]], pts: Sequence[int], indices: list[int]) -> Any:
    """Frames (N, H, W, 3) with PyAV alone: by seeking to the key frame before each, or in order without key frames."""
    frames: dict[int, Any] = {}
    with av.open(path, metadata_errors="ignore") as container:
        stream: Any = container.streams.best("video")
        stream.codec_context.thread_count = 1
        index_of = {stamp: index for index, stamp in enumerate(pts)}
        coming, position = container.decode(stream), -1
        for index in sorted(set(indices)):
            key = max(((i, stamp) for i, stamp in keys if i <= index), default=None)
            if key is not None and key[0] > position + 1:
                container.seek(key[1], stream=stream)
                coming = container.decode(stream)
            while position != index:
                frame = next(coming)
                position = index_of[frame.pts] if keys else position + 1
            frames[index] = frame.to_ndarray(format="rgb24")
    return np.stack([frames[index] for index in indices])
