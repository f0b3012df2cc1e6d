"""Clips rendered where the model is, instead of read from files: no clip is ever drawn twice.

Shapes: B clips, T frames, N frames of a whole video, S coordinates, H W pixels.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.rendering.files import HEIGHT_PX, NUM_FRAMES, WIDTH_PX
from videoadapt.rendering.motions import FPS_HZ, draw_signs, draw_states, travel
from videoadapt.rendering.painting import render
from videoadapt.video.boxes import multi_scale_boxes
from videoadapt.video.samplers import Sampler
from videoadapt.video.sides import CropPx, sides_of
from videoadapt.video.times import Times

_CLIPS_PER_CROP = 32  # clips of a batch that share one crop box, so that they are resized together
Render = Callable[[Tensor, Tensor, int, int], Tensor]


class Film:
    """A rendered video, as a sampler sees it."""

    num_frames = NUM_FRAMES
    times = Times.evenly(NUM_FRAMES, FPS_HZ)


class _Draws:
    """A sampler's random choices out of torch's generator, from which all else of a batch is drawn."""

    def __init__(self, generator: torch.Generator):
        self._generator = generator

    def integers(self, low: int, high: int | None = None, size: int | None = None) -> np.ndarray:
        """See Draws."""
        low, high = (0, low) if high is None else (low, high)
        return torch.randint(low, high, () if size is None else (size,), generator=self._generator).numpy()


def draw_clips(
    motions: Sequence[str] | None,
    size: int,
    generator: torch.Generator,
    device: torch.device,
    *,
    sampler: Sampler,
    num_frames: int,
    crop_px: CropPx,
    draw: Render | None = None,
) -> tuple[Tensor, Tensor]:
    """Render `size` training clips of random motions on `device`: uint8 (B, 3, T, *sides) and labels (B,).

    Without `motions`, of one to four coordinates moved at random; all labels are 0. A clip is `num_frames` of a video's
    NUM_FRAMES, chosen by `sampler`, and cut as the crop "multi_scale" does; everything random comes from `generator`, a CPU
    one. Seeds are drawn from all of int64, where the files' come from a hash. `draw`: `motions.render`, or it compiled.
    """
    labels_B = torch.randint(len(motions or "-"), (size,), generator=generator)
    seeds_B = torch.randint(-(2**63), 2**63 - 1, (size,), generator=generator).to(device)
    if motions is None:
        states_BNS = travel(draw_signs(size, generator).to(device), seeds_B, NUM_FRAMES)
    else:
        states_BNS = draw_states([motions[label] for label in labels_B], seeds_B, NUM_FRAMES)
    rng = _Draws(generator)
    indices = [sampler.train_clip(Film(), num_frames, rng) for _ in range(size)]
    index_BT = torch.from_numpy(np.stack(indices)).to(device)
    states_BTS = states_BNS[torch.arange(size, device=device)[:, None], index_BT]
    frames_BTHWC = (draw or render)(states_BTS, seeds_B, HEIGHT_PX, WIDTH_PX)
    boxes = [box for boxes in multi_scale_boxes(HEIGHT_PX, WIDTH_PX, crop_px) for box in boxes]
    clips = []
    for part_BTHWC in frames_BTHWC.split(_CLIPS_PER_CROP):
        top, left, height, width = boxes[int(torch.randint(len(boxes), (), generator=generator))]
        box_BTHWC = part_BTHWC[:, :, top : top + height, left : left + width]
        frames_NCHW = F.interpolate(
            box_BTHWC.flatten(0, 1).permute(0, 3, 1, 2).float(),
            size=sides_of(crop_px),
            mode="bilinear",
            antialias=True,
        )
        frames_BTCHW = frames_NCHW.round_().clamp_(0, 255).to(torch.uint8).unflatten(0, box_BTHWC.shape[:2])
        clips.append(frames_BTCHW.transpose(1, 2))
    return torch.cat(clips), labels_B.to(device)
