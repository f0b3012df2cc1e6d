"""Training clips that travel as the JPEG files of their frames, and are decoded, cut and resized where the model is.

Shapes: B clips, R clips of one row of a list, T frames, C channels, H W pixels, N bytes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.video.frames import to_jpeg
from videoadapt.video.transforms import Drawn

_DECODED_BYTES = 512 * 2**20  # of whole frames that the device holds at a time
_TRIED = np.zeros((16, 16, 3), np.uint8)


class JpegClip(NamedTuple):
    """A clip that is yet to be made: which of the files its frames are, and what was drawn for it."""

    files_T: tuple[int, ...]
    drawn: Drawn


class JpegClips(NamedTuple):
    """The clips of a row, whose files stand one behind another, each so many bytes, and show frames of one size."""

    lengths: tuple[int, ...]
    height: int
    width: int
    clips: tuple[JpegClip, ...]


Row: TypeAlias = tuple[Tensor, JpegClips]  # the files' bytes, uint8 (N,) or longer, on the CPU


class JpegDecoder:
    """Makes clips of their frames' files on a device; on the CPU it does so, too.

    Pixels are those of TrainTransform.made but for the rounding: at most a grey level on the CPU; a GPU's JPEG decoder (nvJPEG)
    rounds otherwise than libjpeg. Raises RuntimeError for a file that is no JPEG.
    """

    def __init__(self, device: torch.device, sides: tuple[int, int], antialias: bool):
        """`sides` of the crop, and whether boxes are resized with `antialias`: those of the TrainTransform that drew."""
        self.device, self._sides, self._antialias = device, sides, antialias
        self._stream: torch.cuda.Stream | None = None  # made where it is used

    def __call__(self, rows: Sequence[Row]) -> Tensor:
        """Return the clips of all rows, uint8 (B, C, T, H, W) on the device, for whichever stream of this thread's device."""
        if self.device.type != "cuda":
            return self._clips(rows)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)
        with torch.cuda.stream(self._stream):
            clips_BCTHW = self._clips(rows)
            # What is freed here is decoded into next, by a stream of nvJPEG's that waits for none of ours.
            self._stream.synchronize()
        clips_BCTHW.record_stream(torch.cuda.default_stream(self.device))
        return clips_BCTHW

    def _clips(self, rows: Sequence[Row]) -> Tensor:
        made = [
            self._clip(frames, clip)
            for part in _parts(rows)
            for frames, clips in zip(self._frames(part), (of.clips for _, of in part), strict=True)
            for clip in clips
        ]
        return torch.stack(made)

    def _frames(self, rows: Sequence[Row]) -> list[list[Tensor]]:
        """The decoded frames of each row, uint8 (C, H, W) each; all files of all rows are decoded at once."""
        from torchvision.io import ImageReadMode, decode_jpeg  # slow to import

        files = [file_N for bytes_N, of in rows for file_N in bytes_N[: sum(of.lengths)].split(list(of.lengths))]
        frames: Iterator[Tensor] = iter(decode_jpeg(files, ImageReadMode.RGB, device=self.device))
        return [[next(frames) for _ in of.lengths] for _, of in rows]

    def _clip(self, frames: Sequence[Tensor], clip: JpegClip) -> Tensor:
        (top, left, height, width), size, (down, across) = clip.drawn.cut
        box_TCHW = torch.stack([frames[file][:, top : top + height, left : left + width] for file in clip.files_T])
        if size != (height, width):
            floats_TCHW = F.interpolate(box_TCHW.float(), size=size, mode="bilinear", antialias=self._antialias)
            box_TCHW = floats_TCHW.round_().clamp_(0, 255).to(torch.uint8)
        crop_TCHW = box_TCHW[..., down : down + self._sides[0], across : across + self._sides[1]]
        return (crop_TCHW.flip(-1) if clip.drawn.flip else crop_TCHW).transpose(0, 1)


def _parts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in their order, as many together as have decoded frames of at most _DECODED_BYTES; one at least."""
    part: list[Row] = []
    room = _DECODED_BYTES
    for row in rows:
        needed = 3 * row[1].height * row[1].width * len(row[1].lengths)
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
