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
_CUT_BYTES = 128 * 2**20  # of those, in its arithmetic
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
        """Return the clips of all rows, uint8 (B, C, T, H, W) on the device, whole, to be used in the current stream."""
        if self.device.type != "cuda":
            return self._clips(rows)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device, priority=-1)  # before the model, which it feeds
        with torch.cuda.stream(self._stream):
            clips_BCTHW = self._clips(rows)
        clips_BCTHW.record_stream(torch.cuda.current_stream(self.device))
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
        sizes = [(of.height, of.width) for _, of in rows for _ in of.clips]
        # Before decoding, when copies to the device have nothing to wait for. Grey levels are whole numbers in half precision,
        # too, and products are added up in float32.
        dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        drawn = [clip.drawn for _, of in rows for clip in of.clips]
        down_BIH, across_BJW = (
            self._weights(drawn, axis, max(size[axis] for size in sizes)).to(dtype) for axis in range(2)
        )
        order = sorted(range(len(sizes)), key=lambda number: sizes[number])
        order_B = torch.tensor(order).to(self.device)
        frames = self._decoded(rows)
        for start, end in _alike([sizes[number] for number in order], frames[0].shape[0]):
            clips_b = order_B[start:end]
            height, width = sizes[order[start]]
            frames_FCHW = torch.cat([frames[number] for number in order[start:end]])
            # The CPU's decoder interleaves colours.
            levels_FCHW = frames_FCHW.to(dtype, memory_format=torch.contiguous_format)
            down_bIH, across_bJW = down_BIH[clips_b, :, :height], across_BJW[clips_b, :, :width]
            clips_BCTHW.index_copy_(0, clips_b, self._cut_out(levels_FCHW, down_bIH, across_bJW))
        if self._stream is not None:
            # Memory of these frames is decoded into next, by a stream of nvJPEG's that waits for none of ours. And the stream
            # that uses the clips need not wait for them, which would hold up what a thread beside this one gives it to do.
            self._stream.synchronize()
        return len(sizes)

    def _decoded(self, rows: Sequence[Row]) -> list[Tensor]:
        """The frames of each clip, uint8 (T, C, H, W); all strips of all rows are decoded at once."""
        from torchvision.io import ImageReadMode, decode_jpeg  # slow to import

        files = [file_N for bytes_N, of in rows for file_N in bytes_N[: sum(of.lengths)].split(list(of.lengths))]
        strips = iter(decode_jpeg(files, ImageReadMode.RGB, device=self.device))
        clips: list[Tensor] = []
        for _, of in rows:
            shown = [_pictures(next(strips), of.height) for _ in of.lengths]
            frames_FCHW = shown[0] if len(shown) == 1 else torch.cat(shown)
            every = tuple(range(of.frames))
            clips += [
                frames_FCHW if clip.frames_T == every else torch.stack([frames_FCHW[at] for at in clip.frames_T])
                for clip in of.clips
            ]
        return clips

    def _cut_out(self, levels_FCHW: Tensor, down_BIH: Tensor, across_BJW: Tensor) -> Tensor:
        """Cut, resize and mirror the frames of B clips, one clip's behind another's: uint8 (B, C, T, I, J).

        As two products of matrices for all of them, since kernels of their own for each clip would wait for the model's.
        """
        num_clips, (height, width) = len(down_BIH), levels_FCHW.shape[-2:]
        levels_BNHJ = (levels_FCHW.view(num_clips, -1, width) @ across_BJW.mT).view(
            num_clips, -1, height, self._sides[1]
        )
        crops_BNIJ = (down_BIH[:, None] @ levels_BNHJ).round_().clamp_(0, 255).to(torch.uint8)
        return crops_BNIJ.view(num_clips, -1, 3, *self._sides).transpose(1, 2)

    def _weights(self, drawn: Sequence[Drawn], axis: int, frame_px: int) -> Tensor:
        """What each of a frame's first pixels counts in each of the crop's along an axis: float64 (B, crop, frame_px).

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


def _pictures(strip_CHW: Tensor, height: int) -> Tensor:
    """The pictures of a strip, (F, C, height, W), in its own memory."""
    (channels, rows, width), (of_channel, of_row, of_column) = strip_CHW.shape, strip_CHW.stride()
    apart = rows_apart(height)
    size = (1 + (rows - height) // apart, channels, height, width)
    return strip_CHW.as_strided(size, (apart * of_row, of_channel, of_row, of_column))


def _alike(sizes: Sequence[tuple[int, int]], num_frames: int) -> Iterator[tuple[int, int]]:
    """Where clips of one size begin and end, as many together as have frames of at most _CUT_BYTES; one at least."""
    start = 0
    for end in range(1, len(sizes) + 1):
        height, width = sizes[start]
        together = (end + 1 - start) * num_frames * 3 * height * width
        if end == len(sizes) or sizes[end] != sizes[start] or together > _CUT_BYTES:
            yield start, end
            start = end


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
