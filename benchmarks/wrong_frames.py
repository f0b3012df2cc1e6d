"""Frames that are wrong when a library is asked for them directly, and with our decoder of that name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from videoadapt.errors import ConfigError
from videoadapt.video.decoders import open_video
from videoadapt.video.decoders._opening import open_stream
from videoadapt.video.decoders._orientation import orientation_of
from videoadapt.video.decoders._pictures import Pictures


def measure(path: Path, num_clips: int) -> dict[str, Any]:
    """Per library: the share of frames with a pixel that is more than 2 grey levels off, over clips of 8 frames at stride 4.

    The truth is PyAV from the first frame on, turned upright. "before" uses the library at the frame indices, "after"
    our decoder of that name. A clip at which the library raises has no frames; the share of those is "raises".
    """
    truth_NHWC = read_in_order(path)
    starts = np.random.default_rng(0).integers(0, max(1, len(truth_NHWC) - 28), num_clips)
    clips = [np.minimum(start + 4 * np.arange(8), len(truth_NHWC) - 1) for start in starts]
    return {
        name: {
            "before": wrong(naive, path, clips, truth_NHWC),
            "after": wrong(partial(ours, name), path, clips, truth_NHWC),
        }
        for name, naive in NAIVE.items()
    }


def ours(name: str, path: Path, indices: list[int]) -> Any:
    """What training does for a clip."""
    with open_video(path, {"name": name}) as decoder:
        return decoder.get(indices)


def wrong(read: Callable[[Path, list[int]], Any], path: Path, clips: list[Any], truth_NHWC: Any) -> dict[str, float]:
    """Shares of wrong frames and of clips that raise, over all `clips` (lists of frame indices)."""
    num_wrong = num_frames = num_raises = 0
    for indices in clips:
        try:
            frames_NHWC = read(path, indices.tolist())
        except ImportError as error:
            raise ConfigError(f"{error.name}: is not installed, so it cannot be measured") from error
        except Exception:  # noqa: BLE001 - each library has errors of its own, and all of them count
            num_raises += 1
            continue
        num_frames += len(indices)
        for frame_HWC, truth_HWC in zip(frames_NHWC, truth_NHWC[indices], strict=True):
            same_shape = frame_HWC.shape == truth_HWC.shape
            num_wrong += not same_shape or int(np.abs(frame_HWC.astype(np.int16) - truth_HWC).max()) > 2
    return {"wrong": num_wrong / max(1, num_frames), "raises": num_raises / len(clips)}


def read_in_order(path: Path) -> Any:
    """All frames of FFmpeg's best video stream as it plays, upright: uint8 (N, H, W, 3)."""
    pictures = Pictures()
    with open_stream(path, 1) as (container, stream):
        frames = [
            orientation_of(path, frame).upright(pictures.rgb(frame), axes=(0, 1)) for frame in container.decode(stream)
        ]
    return np.stack(frames)


def naive_decord(path: Path, indices: list[int]) -> Any:
    """The usual call of decord."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(str(path.absolute()), num_threads=1).get_batch(indices).asnumpy()


def naive_torchcodec(path: Path, indices: list[int]) -> Any:
    """The usual call of torchcodec."""
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(path.absolute(), dimension_order="NHWC").get_frames_at(indices).data.numpy()


def naive_pyav(path: Path, indices: list[int]) -> Any:
    """The usual loop around PyAV: seek to index / rate, then decode until the time stamp is reached."""
    import av

    with av.open(str(path.absolute())) as container:
        stream: Any = container.streams.video[0]
        frames = []
        for index in indices:
            stamp = (stream.start_time or 0) + round(index / (stream.average_rate * stream.time_base))
            container.seek(stamp, stream=stream)
            frame: Any = next(frame for frame in container.decode(stream) if frame.pts >= stamp)
            frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames)


NAIVE: dict[str, Callable[[Path, list[int]], Any]] = {
    "decord": naive_decord,
    "pyav": naive_pyav,
    "torchcodec": naive_torchcodec,
}
