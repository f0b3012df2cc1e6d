"""A decoded frame as a picture in RGB, the same from FFmpeg 8 in PyAV as from the older ones in decord and torchcodec.

swscale of FFmpeg 8 enlarges the chroma of a frame that is flagged as interlaced field by field, and refuses matrices that
the older ones took for BT.601 or, with constant luminance, for BT.2020. Here an interlaced frame is one picture, as it is
to the `ffmpeg` command, and matrices are taken as the older ones take them.
"""

from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from videoadapt.video.decoders._chain import Chain
from videoadapt.video.decoders._grey import grey_plane, to_8_bits

# Codes of matrices (ITU-T H.273, table 4; the same in AVColorSpace).
RGB, UNSPECIFIED, BT2020, BT2020_CONSTANT = 0, 2, 9, 10
MATRICES = (1, UNSPECIFIED, 4, 5, 6, 7, BT2020)  # of pictures that are not RGB: what swscale takes
READ_AS = {BT2020_CONSTANT: BT2020}  # any other as unspecified, which is BT.601


def is_rgb(frame: VideoFrame) -> bool:
    """True for pictures in RGB, with a palette too, which need no matrix."""
    return frame.format.is_rgb or frame.format.has_palette


class Pictures:
    """Converts the frames of one file; keeps what that takes from frame to frame.

    `levels`: the values that become black and white in a grey file, whose frames then pass through no conversion of FFmpeg's.
    """

    def __init__(self, levels: tuple[int, int] | None = None) -> None:
        self._levels = levels
        self._reformatter = VideoReformatter()
        self._one_picture = Chain(("setfield", "prog"))

    def plain(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame without a flag of interlacing, and with a matrix that swscale takes."""
        if frame.interlaced_frame:
            frame = self._one_picture(frame)
        if frame.colorspace not in MATRICES and not is_rgb(frame):
            frame.colorspace = READ_AS.get(frame.colorspace, UNSPECIFIED)
        return frame

    def rgb(self, frame: VideoFrame) -> np.ndarray:
        """Return the picture as it is stored, not turned: uint8 (H, W, 3), a view of memory that the array keeps."""
        if self._levels is not None:
            return to_8_bits(grey_plane(frame), self._levels)
        frame = self.plain(frame)
        if frame.format.name == "nv12":  # of a GPU: swscale would enlarge its chroma in another way than that of planes
            frame = self._reformatter.reformat(frame, format="yuv420p")
        plane: Any = self._reformatter.reformat(frame, format="rgb24").planes[0]
        rows_HX = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
        return rows_HX[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)
