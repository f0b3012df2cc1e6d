"""Clips rendered where the model is, instead of read from files: no clip is ever drawn twice.

Shapes: B clips, T frames, N frames of a whole video, S coordinates, H W pixels.
"""

from collections.abc import Callable, Generator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt import distributed
from videoadapt.config import AugmentConfig, Config, DataConfig
from videoadapt.datasets.synthetic import HEIGHT_PX, NUM_FRAMES, WIDTH_PX
from videoadapt.motions import MOTIONS, draw_signs, draw_states, render, travel
from videoadapt.sampling import Dense
from videoadapt.seeds import hash_seed
from videoadapt.structures import ClipBatch
from videoadapt.transforms import multi_scale_boxes

_CLIPS_PER_CROP = 32  # clips of a batch that share one crop box, so that they are resized together
Render = Callable[[Tensor, Tensor, int, int], Tensor]


def rendered_problems(config: Config) -> list[str]:
    """What data.rendered cannot do of what a config asks for, a line each."""
    data, rendered = config.data, config.data.rendered
    if rendered is None:
        return []
    problems = []
    if data.train is not None or data.val is not None:
        problems.append("data.rendered: takes the place of data.train and data.val; set both to null")
    if data.first_per_class is not None:
        problems.append("data.first_per_class: rendered clips have no list; leave it null, and set clips_per_epoch")
    if rendered.motions == "any" and config.task == "train":
        problems.append("data.rendered.motions = any: has no classes to train; allowed: quickstart, trunk")
    sampling = data.sampling
    if not isinstance(sampling, Dense) or (data.num_frames - 1) * sampling.stride_frames >= NUM_FRAMES:
        problems.append(
            f"data.rendered: a clip is {NUM_FRAMES} frames long and sampled densely; data.num_frames x "
            "data.sampling.stride_frames needs to fit in"
        )
    if data.augment != AugmentConfig(mixup=data.augment.mixup, cutmix=data.augment.cutmix,
                                     label_smoothing=data.augment.label_smoothing):  # fmt: skip
        problems.append(
            "data.augment: rendered clips are cut by `crop: multi_scale`, once each; leave flip, rand_augment, erasing and "
            "repeated as they are"
        )
    return problems


def draw_clips(
    motions: Sequence[str] | None,
    size: int,
    config: DataConfig,
    generator: torch.Generator,
    device: torch.device,
    draw: Render | None = None,
) -> tuple[Tensor, Tensor]:
    """Render `size` training clips of random motions on `device`: uint8 (B, 3, T, crop_px, crop_px) and labels (B,).

    Without `motions`, of one to four coordinates moved at random; all labels are 0. Frames are chosen as dense sampling
    with a random start does, and cut as the crop "multi_scale" does; everything random comes from `generator`, a CPU one.
    Seeds are drawn from all of int64, where the files' come from a hash. `draw`: `motions.render`, or it compiled.
    """
    assert isinstance(config.sampling, Dense), "rendered clips are sampled densely"
    stride = config.sampling.stride_frames
    labels_B = torch.randint(len(motions or "-"), (size,), generator=generator)
    seeds_B = torch.randint(-(2**63), 2**63 - 1, (size,), generator=generator).to(device)
    if motions is None:
        states_BNS = travel(draw_signs(size, generator).to(device), seeds_B, NUM_FRAMES)
    else:
        states_BNS = draw_states([motions[label] for label in labels_B], seeds_B, NUM_FRAMES)
    start_B = torch.randint(NUM_FRAMES - (config.num_frames - 1) * stride, (size,), generator=generator)
    index_BT = (start_B[:, None] + stride * torch.arange(config.num_frames)).to(device)
    states_BTS = states_BNS[torch.arange(size, device=device)[:, None], index_BT]
    frames_BTHWC = (draw or render)(states_BTS, seeds_B, HEIGHT_PX, WIDTH_PX)
    boxes = [box for boxes in multi_scale_boxes(HEIGHT_PX, WIDTH_PX, config.crop_px) for box in boxes]
    clips = []
    for part_BTHWC in frames_BTHWC.split(_CLIPS_PER_CROP):
        top, left, height, width = boxes[int(torch.randint(len(boxes), (), generator=generator))]
        box_BTHWC = part_BTHWC[:, :, top : top + height, left : left + width]
        frames_NCHW = F.interpolate(
            box_BTHWC.flatten(0, 1).permute(0, 3, 1, 2).float(),
            size=(config.crop_px, config.crop_px),
            mode="bilinear",
            antialias=True,
        )
        frames_BTCHW = frames_NCHW.round_().clamp_(0, 255).to(torch.uint8).unflatten(0, box_BTHWC.shape[:2])
        clips.append(frames_BTCHW.transpose(1, 2))
    return torch.cat(clips), labels_B.to(device)


def motion_names(config: DataConfig) -> list[str] | None:
    """The classes of rendered clips; None where they have none."""
    assert config.rendered is not None
    return None if config.rendered.motions == "any" else list(MOTIONS[config.rendered.motions])


def rendered_batches(
    config: Config, start_step: int, total_steps: int, device: torch.device
) -> Generator[ClipBatch, None, None]:
    """This rank's micro-batches from `start_step` on, each drawn from (seed, step, micro-batch, rank)."""
    names, accumulate = motion_names(config.data), config.train.accumulate
    size = config.train.batch_size // (distributed.world_size() * accumulate)
    draw: Render = torch.compile(render, dynamic=False) if config.train.compile else render
    for step in range(start_step, total_steps):
        for number in range(accumulate):
            seed = hash_seed(config.seed, step, distributed.rank(), number, 2)
            generator = torch.Generator().manual_seed(seed)
            clips_BCTHW, labels_B = draw_clips(names, size, config.data, generator, device, draw)
            ids = tuple(f"rendered {step}/{distributed.rank()}/{number}/{clip}" for clip in range(size))
            yield ClipBatch(clips_BCTHW, labels_B, ids, (None,) * size)
