"""Training clips that travel as the JPEG files of their frames, and are decoded, cut and resized where the model is.

Shapes: B clips, T frames, C channels, H W pixels of a frame or a strip, I J of a crop, N bytes, or all rows of a clip.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from videoadapt.video.frames import to_jpeg
from videoadapt.video.jpeg_strip import rows_apart
from videoadapt.video.transforms import Drawn

_DECODED_BYTES = 512 * 2**20  # of whole frames that the device holds at a time
_CUT_BYTES = 64 * 2**20  # of those, in its arithmetic
_TRIED = np.zeros((16, 16, 3), np.uint8)


class JpegClip(NamedTuple):
    """A clip that is yet to be made: which of a row's frames it has, and what was drawn for it."""

    frames_T: tuple[int, ...]
    drawn: Drawn


class JpegClips(NamedTuple):
    """The clips of a row, and its frames of one size: strips of them stand one behind another, each so many bytes."""

    lengths: tuple[int, ...]
    frames: int
    height: int
    width: int
    clips: tuple[JpegClip, ...]


class _Decoded(NamedTuple):
    """A clip by its number among those decoded at once, its frames (C, H, W) each, and what was drawn for it."""

    number: int
    frames: list[Tensor]
    drawn: Drawn


Row: TypeAlias = tuple[Tensor, JpegClips]  # the strips' bytes, uint8 (N,) or longer, on the CPU


class JpegDecoder:
    """Makes clips of strips of their frames on a device; on the CPU it does so, too.

    Pixels are those of TrainTransform.made but for the rounding: at most a grey level on the CPU; a GPU's JPEG decoder (nvJPEG)
    rounds otherwise than libjpeg. Raises RuntimeError for a file that is no JPEG.
    """

    def __init__(self, device: torch.device, sides: tuple[int, int], antialias: bool):
        """`sides` of the crop, and whether boxes are resized with `antialias`: those of the TrainTransform that drew."""
        self.device, self._sides, self._antialias = device, sides, antialias
        self._stream: torch.cuda.Stream | None = None  # made where it is used

    def __call__(self, rows: Sequence[Row]) -> Tensor:
        """Return the clips of all rows, uint8 (B, C, T, H, W) on the device, for the current stream."""
        if self.device.type != "cuda":
            return self._clips(rows)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device, priority=-1)  # before the model, which it feeds
        with torch.cuda.stream(self._stream):
            clips_BCTHW = self._clips(rows)
        using = torch.cuda.current_stream(self.device)
        using.wait_stream(self._stream)
        clips_BCTHW.record_stream(using)
        return clips_BCTHW

    def _clips(self, rows: Sequence[Row]) -> Tensor:
        num_clips, num_frames = sum(len(of.clips) for _, of in rows), len(rows[0][1].clips[0].frames_T)
        clips_BCTHW = torch.empty(num_clips, 3, num_frames, *self._sides, dtype=torch.uint8, device=self.device)
        first = 0
        for part in _parts(rows):
            first += self._make(part, clips_BCTHW[first:])
        return clips_BCTHW

    def _make(self, rows: Sequence[Row], clips_BCTHW: Tensor) -> int:
        """Fill the first of these clips with those of the rows; return how many that are."""
        if self._stream is not None:
            # Memory of the frames before these is decoded into, by a stream of nvJPEG's that waits for none of ours.
            self._stream.synchronize()
        decoded = self._decoded(rows)
        for together in _alike(decoded):
            clips_BCTHW[[clip.number for clip in together]] = self._cut_out(together)
        return len(decoded)

    def _decoded(self, rows: Sequence[Row]) -> list[_Decoded]:
        """The clips of all rows; all their strips are decoded at once."""
        from torchvision.io import ImageReadMode, decode_jpeg  # slow to import

        files = [file_N for bytes_N, of in rows for file_N in bytes_N[: sum(of.lengths)].split(list(of.lengths))]
        strips = iter(decode_jpeg(files, ImageReadMode.RGB, device=self.device))
        clips: list[_Decoded] = []
        for _, of in rows:
            of_row = [frame_CHW for _ in of.lengths for frame_CHW in _frames(next(strips), of.height)]
            for clip in of.clips:
                clips.append(_Decoded(len(clips), [of_row[frame] for frame in clip.frames_T], clip.drawn))
        return clips

    def _cut_out(self, clips: Sequence[_Decoded]) -> Tensor:
        """Cut, resize and mirror clips whose frames have one size: uint8 (B, C, T, H, W).

        As two products of matrices for all of them, since kernels of their own for each clip would wait for the model's.
        """
        frames_FCHW = torch.stack([frame_CHW for clip in clips for frame_CHW in clip.frames])
        height, width = frames_FCHW.shape[-2:]
        # Grey levels are whole numbers in half precision, too, and products are added up in float32.
        dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        down_BIH, across_BJW = (
            self._weights([clip.drawn for clip in clips], axis, frame_px).to(dtype)
            for axis, frame_px in enumerate((height, width))
        )
        levels_BNW = frames_FCHW.to(dtype).view(len(clips), -1, width)
        levels_BNHJ = (levels_BNW @ across_BJW.mT).view(len(clips), -1, height, self._sides[1])
        crops_BNIJ = (down_BIH[:, None] @ levels_BNHJ).round_().clamp_(0, 255).to(torch.uint8)
        return crops_BNIJ.view(len(clips), -1, 3, *self._sides).transpose(1, 2)

    def _weights(self, drawn: Sequence[Drawn], axis: int, frame_px: int) -> Tensor:
        """What each of a frame's pixels counts in each of the crop's along an axis: float64 (B, crop, frame).

        Bilinear as in F.interpolate: a triangle of one pixel's reach, with antialias of one of the crop's, within the box.
        """
        crop_px = self._sides[axis]
        told = [
            (cut.box[axis], cut.box[axis + 2], cut.size[axis], cut.corner[axis], flip and axis == 1)
            for cut, flip, _ in drawn
        ]
        start, length, size, corner, mirrored = (
            torch.tensor(told, dtype=torch.float64).to(self.device).T[..., None, None]
        )
        place = torch.arange(crop_px, dtype=torch.float64, device=self.device)[:, None]
        place = corner + torch.where(mirrored > 0, crop_px - 1 - place, place)
        pixel = torch.arange(frame_px, dtype=torch.float64, device=self.device) - start
        scale = length / size
        reach = scale.clamp(min=1) if self._antialias else torch.ones_like(scale)
        weights = (1 - ((pixel + 0.5) - (place + 0.5) * scale).abs() / reach).clamp_(min=0)
        weights *= (pixel >= 0) & (pixel < length)
        return weights / weights.sum(-1, keepdim=True)


def _frames(strip_CHW: Tensor, height: int) -> list[Tensor]:
    """The pictures of a strip, each (C, height, W)."""
    return [strip_CHW[:, top : top + height] for top in range(0, strip_CHW.shape[1], rows_apart(height))]


def _alike(clips: Sequence[_Decoded]) -> Iterator[list[_Decoded]]:
    """Clips whose frames have one size, as many together as have frames of at most _CUT_BYTES; one at least."""
    of_size: dict[torch.Size, list[_Decoded]] = {}
    for clip in clips:
        of_size.setdefault(clip.frames[0].shape, []).append(clip)
    for shape, alike in of_size.items():
        at_once = max(1, _CUT_BYTES // (shape.numel() * len(alike[0].frames)))
        yield from (alike[start : start + at_once] for start in range(0, len(alike), at_once))


def _parts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in their order, as many together as have decoded frames of at most _DECODED_BYTES; one at least."""
    part: list[Row] = []
    room = _DECODED_BYTES
    for row in rows:
        needed = 3 * row[1].height * row[1].width * row[1].frames
        if part and needed > room:
            yield part
            part, room = [], _DECODED_BYTES
        part.append(row)
        room -= needed
    if part:
        yield part


def why_not_decoded(device: torch.device) -> str:
    """Why JPEG cannot be decoded on this device; "" if it can."""
    try:
        from torchvision.io import decode_jpeg

        file_N = torch.frombuffer(bytearray(to_jpeg(_TRIED, 90)), dtype=torch.uint8)
        decode_jpeg([file_N], device=device)
    except (ImportError, RuntimeError, TypeError) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return ""
