"""The file of one picture as a video of one frame: JPEG, PNG, WebP or BMP."""

from collections.abc import Set
from pathlib import Path

import numpy as np

from videoadapt.errors import DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders._base import Decoder
from videoadapt.video.decoders._grey import Levels
from videoadapt.video.decoders._picture_file import described, upright
from videoadapt.video.files import open_bytes, why_no_video
from videoadapt.video.times import Times

_CURE = "copy it again, or convert it to PNG"


@DECODERS.register
class ImageFile(Decoder):
    """One picture. `levels`: of grey pictures, the values that become black and white, which 16 bits need.

    Raises DecodeError naming the file.
    """

    reads_pictures = True

    def __init__(self, path: Path, /, *, levels: Levels | None = None):
        if reason := why_no_video(path):
            raise DecodeError(f"{path}: {reason}")
        try:
            with open_bytes(path) as file:
                self._content = file.read()
        except OSError as error:
            raise DecodeError(f"{path}: {error.strerror or error}; {_CURE}") from error
        self._levels = levels
        self._damaged: set[int] = set()
        super().__init__(path, described(path, self._content, 1, _CURE))
        self.fps_hz = None

    @property
    def num_frames(self) -> int:
        """One."""
        return 1

    @property
    def damaged(self) -> Set[int] | None:
        """The picture, once it was read from a file that ends early."""
        return self._damaged

    def _find_times(self) -> Times | None:
        raise DecodeError(
            f"{self.path}: a picture has no time; leave data.sampling.fps_hz and stride_sec at null (--fps-hz out), and "
            "name no parts in seconds"
        )

    def _read(self, wanted: list[int]) -> np.ndarray:
        picture_HWC, whole = upright(self.path, self._content, self._levels, _CURE)
        if not whole:
            self._damaged.add(0)
        return np.array(picture_HWC)[None]  # a copy, which may be written to

    def close(self) -> None:
        """Nothing is open."""
