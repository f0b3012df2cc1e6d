"""One video file to the pixels of its training clips or of its test views.

A reader is made once from a source of frames, a sampler and a transform, and called with files; it knows no lists.
Shapes: R clips of one video, N test clips, J crops, T frames, H W pixels.
"""

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from videoadapt import logger
from videoadapt.errors import ConfigError
from videoadapt.video.bicubic import Bicubic
from videoadapt.video.boxes import EraseBox
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.frames import Frames, from_jpeg
from videoadapt.video.jpeg_clips import JpegClip, JpegClips, JpegDecoder
from videoadapt.video.jpeg_strip import most_pictures, strip_of
from videoadapt.video.letterbox import Letterbox
from videoadapt.video.part import AnyPart, FramesOfPart
from videoadapt.video.resizing import covering_size, resize_to_cover
from videoadapt.video.samplers import Indices, Sampler
from videoadapt.video.sides import CropPx, sides_of
from videoadapt.video.transforms import TrainTransform, crop_corners, view_crops

# of whole frames that a test video holds at a time; a file read in order starts anew for more
DECODED_BYTES = 128 * 2**20


class FileNotes(NamedTuple):
    """What there is to say of a file besides its pixels: of the frames read, how many the decoder marked as damaged, None
    where it cannot tell; its frames a second, None where they are not known; and how many frames it has.
    """

    damaged_frames: int | None = None
    fps_hz: float | None = None
    num_frames: int | None = None


class CropBox(NamedTuple):
    """Where a crop lies in a frame, as shares of the frame's height and width; a letterbox's bars are below 0 and above 1."""

    top: float
    left: float
    bottom: float
    right: float


class ClipReader:
    """Reads random training clips of a video, each frame decoded once.

    With `same_frames` all clips of one call are made from the frames of the first (VideoMAE's repeated augmentation).
    """

    def __init__(
        self,
        source: FrameSource,
        sampler: Sampler,
        transform: TrainTransform,
        *,
        num_frames: int,
        same_frames: bool = False,
    ):
        self._source, self._sampler, self._transform = source, sampler, transform
        self._num_frames, self._same_frames = num_frames, same_frames
        self._said_large = False
        self.clip_bytes = 3 * num_frames * math.prod(transform.sides)

    def __call__(
        self, path: str | Path, rngs: Sequence[np.random.Generator]
    ) -> tuple[Tensor, tuple[EraseBox | None, ...]]:
        """As `with_notes`, without the notes."""
        return self.with_notes(path, rngs)[:2]

    def with_notes(
        self, path: str | Path, rngs: Sequence[np.random.Generator], part: AnyPart | None = None
    ) -> tuple[Tensor, tuple[EraseBox | None, ...], FileNotes]:
        """Return a clip for each generator, uint8 (R, 3, T, H, W), what to erase of each, and notes on the file.

        A generator decides everything random about its clip, but for frames that are the first clip's. Raises DecodeError
        naming a file that cannot be read. Of a `part` of the film the frames are those shown in it.
        """
        with closing(self._source.open(path)) as film:
            video = film if part is None else FramesOfPart(film, part, path)
            indices = self._indices(video, rngs)
            frames = _decode_once(video, indices) * (len(rngs) // len(indices))
            notes = notes_on(video)
        clips, erase = [], []
        for frames_THWC, rng in zip(frames, rngs, strict=True):
            clip_CTHW, box = self._transform(frames_THWC, _generator(rng))
            clips.append(clip_CTHW)
            erase.append(box)
        return torch.stack(clips), tuple(erase), notes

    def in_jpeg(
        self, path: Path, rngs: Sequence[np.random.Generator], part: AnyPart | None = None
    ) -> tuple[Tensor, JpegClips | None, tuple[EraseBox | None, ...], FileNotes]:
        """As `with_notes`, but before decoding: the frames in strips of JPEG, uint8 (N,), and what clips to make of them.

        Where the strips take more bytes than the clips it is the clips, and None. For a source with `jpeg_quality`, and a
        transform without `augment` and `fit`.
        """
        with closing(self._source.open_jpeg(path)) as film:
            video: Frames = film if part is None else FramesOfPart(film, part, path)
            indices = self._indices(video, rngs)
            unique, inverse = np.unique(np.stack(indices), return_inverse=True)
            files = film.get_jpeg(unique + (video.first_frame if isinstance(video, FramesOfPart) else 0))
            notes = notes_on(video)
        rows = inverse.reshape(len(indices), -1).tolist() * (len(rngs) // len(indices))
        clips = tuple(
            JpegClip(tuple(frames_T), self._transform.draw(film.height, film.width, _generator(rng)))
            for frames_T, rng in zip(rows, rngs, strict=True)
        )
        erase = tuple(clip.drawn.erase for clip in clips)
        each = most_pictures(film.height, film.width)
        strips = [strip_of(files[first : first + each]) for first in range(0, len(files), each)]
        lengths = tuple(map(len, strips))
        if sum(lengths) <= len(clips) * self.clip_bytes:
            bytes_N = torch.frombuffer(bytearray().join(strips), dtype=torch.uint8)
            return bytes_N, JpegClips(lengths, len(files), film.height, film.width, clips), erase, notes
        if not self._said_large:
            self._said_large = True
            logger.warning(
                "data.jpeg_decoding = device: JPEG files that take more room than their clip are decoded on the processor; set "
                "data.short_side_px, or a lower data.jpeg_quality"
            )
        frames_NHWC = torch.from_numpy(np.stack([from_jpeg(file) for file in files]))
        made = [self._transform.made(frames_NHWC[list(clip.frames_T)], clip.drawn) for clip in clips]
        return torch.stack(made), None, erase, notes

    def decoder(self, device: torch.device) -> JpegDecoder:
        """What makes clips on a device of what `in_jpeg` returns."""
        return JpegDecoder(device, self._transform.sides, self._transform.antialias)

    def _indices(self, video: Frames, rngs: Sequence[np.random.Generator]) -> list[np.ndarray]:
        """Which frames each clip has; with `same_frames` those of the first, once."""
        drawing = rngs[:1] if self._same_frames else rngs
        return [self._sampler.train_clip(video, self._num_frames, rng) for rng in drawing]


class ViewReader:
    """Reads all (clip, crop) views of a video from one decode."""

    def __init__(
        self,
        source: FrameSource,
        sampler: Sampler,
        *,
        num_frames: int,
        crop_px: CropPx,
        num_clips: int,
        num_crops: int,
        fit: Letterbox | Bicubic | None = None,
    ):
        """With a `fit` there is one view of a clip: a letterbox's whole frame, or the middle that a Bicubic cuts.

        Raises ConfigError for other `num_crops`.
        """
        if fit is not None and num_crops != 1:
            raise ConfigError(f"num_crops: {num_crops} is not allowed; a {type(fit).__name__.lower()} has one view")
        self._fit = fit
        self._source, self._sampler = source, sampler
        self._num_frames, self._sides = num_frames, sides_of(crop_px)
        self._num_clips, self.num_crops = num_clips, num_crops
        self.views_bytes = num_clips * num_crops * 3 * num_frames * math.prod(self._sides)

    def __call__(self, video: str | Path | Frames) -> Tensor:
        """Return uint8 (N, J, 3, T, H, W) of a file, or of a video that is decoded already.

        Raises DecodeError naming a file that cannot be read.
        """
        return self.with_notes(video)[0]

    def with_notes(self, video: str | Path | Frames, part: AnyPart | None = None) -> tuple[Tensor, FileNotes]:
        """The same, of the whole film or of a part, and notes on the file."""
        with closing(self.open(video)) as film:
            frames = film if part is None else FramesOfPart(film, part, video)
            return self._views(frames), notes_on(frames)

    def open(self, video: str | Path | Frames) -> Frames:
        """The frames that views are made from; whoever opens them closes them."""
        return self._source.open(video)

    def chosen(self, video: Frames) -> Indices:
        """Which frames the test clips of a video are: (N, T)."""
        return self._sampler.test_clips(video, self._num_frames, self._num_clips)

    def _views(self, video: Frames) -> Tensor:
        """The views (N, J, 3, T, H, W) of an opened video; only the crops of its frames are kept."""
        indices_NT = self.chosen(video)
        views_NJCTHW = torch.empty(
            self._num_clips, self.num_crops, 3, self._num_frames, *self._sides, dtype=torch.uint8
        )
        wanted = np.unique(indices_NT)
        at_once = max(1, DECODED_BYTES // (3 * video.height * video.width))
        for start in range(0, len(wanted), at_once):
            part = wanted[start : start + at_once]
            for index, frame_HWC in zip(part, torch.from_numpy(video.get(part)), strict=True):
                crops_JCHW = self.crops(frame_HWC)
                for clip, place in np.argwhere(indices_NT == index):
                    views_NJCTHW[clip, :, :, place] = crops_JCHW
        return views_NJCTHW

    def crops(self, frame_HWC: Tensor) -> Tensor:
        """What the model sees of one frame: uint8 (J, 3, H, W), which may share memory with it."""
        return self.cut(self.fitted(frame_HWC[None]))[:, 0]

    def fitted(self, frames_THWC: Tensor) -> Tensor:
        """Frames at the size that views are cut from, uint8 (T, 3, H, W): with a `fit`, that of the one view."""
        frames_TCHW = frames_THWC.permute(0, 3, 1, 2)
        if self._fit is not None:
            return self._fit.centred(frames_TCHW, self._sides)
        return resize_to_cover(frames_TCHW, *self._sides)

    def cut(self, fitted_TCHW: Tensor) -> Tensor:
        """The views of fitted frames: uint8 (J, T, 3, H, W)."""
        if self._fit is not None:
            return fitted_TCHW[None]
        return torch.stack(view_crops(fitted_TCHW, self._sides, self.num_crops))

    def boxes(self, height: int, width: int) -> list[CropBox]:
        """Where in a frame of this size what `crops` returns lies."""
        sides = self._sides
        if self._fit is not None:
            top, left, size = self._fit.place(height, width, sides)
            corners = [(top, left)]
        else:
            size = covering_size(height, width, *sides)
            corners = crop_corners(*size, sides, self.num_crops)
        return [
            CropBox(top / size[0], left / size[1], (top + sides[0]) / size[0], (left + sides[1]) / size[1])
            for top, left in corners
        ]


def notes_on(video: Frames) -> FileNotes:
    """What there is to say of a video of which frames were read."""
    fps_hz = video.fps_hz if video.num_frames > 1 else None  # what a file of one frame states is nothing's rate
    return FileNotes(None if video.damaged is None else len(video.damaged), fps_hz, video.num_frames)


def _generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def _decode_once(video: Frames, indices: Sequence[np.ndarray]) -> list[Tensor]:
    """Frames for each list of indices, (T, H, W, 3) uint8, each frame decoded once."""
    unique, inverse = np.unique(np.stack(indices), return_inverse=True)
    frames_THWC = torch.from_numpy(video.get(unique))
    if len(indices) == 1 and len(unique) == len(indices[0]):  # in ascending order already: no copy
        return [frames_THWC]
    return [frames_THWC[rows] for rows in torch.from_numpy(inverse.reshape(len(indices), -1))]
