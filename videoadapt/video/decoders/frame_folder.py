"""A folder of pictures as a video: JPEG, PNG or WebP files whose names differ in a number."""

from collections.abc import Set
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from pydantic import AfterValidator

from videoadapt.errors import DecodeError
from videoadapt.registry import DECODERS
from videoadapt.video.decoders._base import Decoder
from videoadapt.video.decoders._grey import Levels
from videoadapt.video.decoders._numbered import find_frames, parts_of
from videoadapt.video.decoders._picture_file import described, upright
from videoadapt.video.files import why_no_video
from videoadapt.video.times import Times

_CURE = "extract the frames again"


def _checked(template: str) -> str:
    parts_of(template)
    return template


@DECODERS.register
class FrameFolder(Decoder):
    """The frames of a folder, in the order of their numbers, `fps_hz` of them a second; None: counted only, not timed.

    `template`: which files are frames, img_{:05d}.jpg; None: all pictures, which then have one name but for the number.
    `first`: the first frame's number; None: 0 or 1, whichever is there. `levels`: of grey pictures, the values that become
    black and white. Raises DecodeError naming the folder or the file.
    """

    reads_folders = reads_pictures = True

    def __init__(
        self,
        path: Path,
        /,
        *,
        template: Annotated[str, AfterValidator(_checked)] | None = None,
        fps_hz: Annotated[float, Gt(0)] | None = None,
        first: Annotated[int, Ge(0)] | None = None,
        levels: Levels | None = None,
    ):
        if reason := why_no_video(path, folders=True):
            raise DecodeError(f"{path}: {reason}")
        self._files = find_frames(path, template, first)
        self._damaged: set[int] = set()
        self._levels = levels
        super().__init__(path, described(path / self._files.name(0), None, self._files.num_frames, _CURE))
        self.fps_hz = fps_hz

    @property
    def num_frames(self) -> int:
        """Number of files, all of which `get` delivers or raises."""
        return self._files.num_frames

    @property
    def damaged(self) -> Set[int] | None:
        """Frames whose file ends early."""
        return self._damaged

    def _find_times(self) -> Times | None:
        if self.fps_hz is None:
            raise DecodeError(f"{self.path}: files do not say when they are shown; set data.decoder.fps_hz")
        return Times.evenly(self.num_frames, self.fps_hz)

    def _read(self, wanted: list[int]) -> np.ndarray:
        frames_NHWC = np.empty((len(wanted), self.height, self.width, 3), np.uint8)
        for place, index in enumerate(wanted):
            file = self.path / self._files.name(index)
            frame_HWC, whole = upright(file, None, self._levels, _CURE)
            height, width = frame_HWC.shape[:2]
            if (height, width) != (self.height, self.width):
                raise DecodeError(
                    f"{file}: is {width} x {height} pixels, and {self._files.name(0)} {self.width} x "
                    f"{self.height}; frames of a folder have one size"
                )
            frames_NHWC[place] = frame_HWC
            if not whole:
                self._damaged.add(index)
        return frames_NHWC

    def close(self) -> None:
        """Nothing is open."""
