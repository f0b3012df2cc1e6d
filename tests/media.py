"""Writes small real video files for the tests, with PyAV: any codec, container, size, group of pictures, B-frames."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

X264_FIXED_GOP = {"b-adapt": "0", "sc_threshold": "0", "crf": "12"}


def picture(index: int, height: int, width: int) -> np.ndarray:
    """Frame `index` of the test film, uint8 (H, W, 3): a drifting texture under a jumping bar, no two alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    rgb_HWC = np.stack(
        [
            128 + 90 * np.sin((columns + 2 * index) / 9),
            128 + 90 * np.cos((rows - index) / 7),
            128 + 90 * np.sin((columns + rows + 3 * index) / 11),
        ],
        axis=-1,
    )
    left = (index * 11) % max(1, width - width // 8)
    rgb_HWC[: height // 2, left : left + width // 8] = (255, 255 - (index * 37) % 256, (index * 53) % 256)
    return rgb_HWC.astype(np.uint8)


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 48,
    height: int = 48,
    width: int = 64,
    fps_hz: int = 25,
    gop: int = 12,
    bframes: int = 0,
    options: dict[str, str] | None = None,
    counterclockwise: int = 0,
    pix_fmt: str = "yuv420p",
    trim_frames: int = 0,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write `num_frames` pictures to `path`; the suffix picks the container.

    `counterclockwise` is the rotation in degrees that the display matrix asks for; `trim_frames` makes an edit list
    start the film that many frames late, as a cut without re-encoding does.
    """
    settings = dict(X264_FIXED_GOP) if codec == "libx264" else {}
    settings |= options or {}
    muxer = {"avoid_negative_ts": "disabled"} if trim_frames else {}
    with av.open(str(path), "w", container_options=muxer | (container_options or {})) as container:
        stream = container.add_stream(codec, rate=fps_hz, options=settings)
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        stream.gop_size, stream.codec_context.max_b_frames = gop, bframes
        if counterclockwise:
            stream.set_display_rotation(counterclockwise)
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")
            frame.pts, frame.time_base = index - trim_frames, Fraction(1, fps_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
