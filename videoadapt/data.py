"""Lists, decoders, sampling and transforms put together: what a training loop and a test loop iterate over.

Every random choice about a clip comes from (seed, epoch, row, repeat), so it depends neither on workers nor on ranks.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from videoadapt import distributed
from videoadapt.config import Config, DataConfig
from videoadapt.decoders import Decoder, open_video
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.rand_augment import RandAugment
from videoadapt.structures import Clip, ClipBatch, Unreadable, Video, VideoViews
from videoadapt.transforms import TrainTransform, resize_short_side, view_crops

SampleKey = tuple[int, int]  # (epoch, row)
_DECODED_BYTES = (
    128 * 2**20
)  # of whole frames that a test video holds at a time; a file read in order starts anew for more


class TrainClips(Dataset[list[Clip] | Unreadable]):
    """`self[epoch, row]` -> `augment.repeated` clips of one video, decoded once, or Unreadable."""

    def __init__(self, videos: Sequence[Video], config: DataConfig, seed: int):
        self._videos = videos
        self._config = config
        self._seed = seed
        augment = config.augment
        self._transform = TrainTransform(
            crop_px=config.crop_px,
            crop=augment.crop,
            flip=augment.flip,
            erasing=augment.erasing,
            augment=RandAugment(augment.rand_augment) if augment.rand_augment else None,
        )

    def __getitem__(self, key: SampleKey) -> list[Clip] | Unreadable:
        epoch, row = key
        video = self._videos[row]
        repeats = range(self._config.augment.repeated)
        rngs = [np.random.default_rng([self._seed, epoch, row, repeat]) for repeat in repeats]
        try:
            with open_video(video.path, self._config.decoder) as decoder:
                indices = [
                    self._config.sampling.train_indices(decoder.num_frames, self._config.num_frames, rng)
                    for rng in rngs
                ]
                frames = _decode_once(decoder, indices)
        except DecodeError as error:
            return Unreadable(row, video, str(error))
        clips = []
        for frames_THWC, rng in zip(frames, rngs, strict=True):
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            frames_CTHW, erase = self._transform(frames_THWC, generator)
            clips.append(Clip(video, frames_CTHW, erase))
        return clips


class TestViews(Dataset[VideoViews | Unreadable]):
    """`self[row]` -> all (clip, crop) views of one video from one decode, or Unreadable."""

    def __init__(self, videos: Sequence[Video], config: DataConfig, num_clips: int, num_crops: int):
        self._videos = videos
        self._config = config
        self._num_clips = num_clips
        self._num_crops = num_crops

    def __getitem__(self, row: int) -> VideoViews | Unreadable:
        video = self._videos[row]
        try:
            with open_video(video.path, self._config.decoder) as decoder:
                return VideoViews(row, video, self._views(decoder))
        except DecodeError as error:
            return Unreadable(row, video, str(error))

    def _views(self, decoder: Decoder) -> Tensor:
        """Views (V, 3, T, H, W): each frame is decoded once, and only its crops are kept, however large it is."""
        config, crop_px = self._config, self._config.crop_px
        indices_NT = config.sampling.test_indices(decoder.num_frames, config.num_frames, self._num_clips)
        views_NJCTHW = torch.empty(
            self._num_clips, self._num_crops, 3, config.num_frames, crop_px, crop_px, dtype=torch.uint8
        )
        wanted = np.unique(indices_NT)
        at_once = max(1, _DECODED_BYTES // (3 * decoder.height * decoder.width))
        for start in range(0, len(wanted), at_once):
            part = wanted[start : start + at_once]
            for index, frame_HWC in zip(part, torch.from_numpy(decoder.get(part)), strict=True):
                resized_1CHW = resize_short_side(frame_HWC.permute(2, 0, 1)[None], crop_px)
                crops_JCHW = torch.cat(view_crops(resized_1CHW, crop_px, self._num_crops))
                for clip, place in np.argwhere(indices_NT == index):
                    views_NJCTHW[clip, :, :, place] = crops_JCHW
        return views_NJCTHW.flatten(0, 1)


def _decode_once(decoder: Any, indices: Sequence[np.ndarray]) -> list[Tensor]:
    """Frames for each list of indices, (T, H, W, 3) uint8, each frame decoded once."""
    unique, inverse = np.unique(np.stack(indices), return_inverse=True)
    frames_THWC = torch.from_numpy(decoder.get(unique))
    return [frames_THWC[rows] for rows in torch.from_numpy(inverse.reshape(len(indices), -1))]


@dataclass(frozen=True)
class Schedule:
    """How many updates a training run has and which rows each one sees."""

    num_videos: int
    batch_size: int  # videos of one update, over all ranks and accumulation steps
    epochs: int
    accumulate: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch; the incomplete last batch is dropped, as in AdaptFormer's loader."""
        return self.num_videos // self.batch_size

    @property
    def total_steps(self) -> int:
        """Updates in the whole run."""
        return self.steps_per_epoch * self.epochs

    def rows(self, step: int) -> tuple[int, np.ndarray]:
        """The epoch of an update and the rows of its global batch."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_videos)
        return epoch, order[within * self.batch_size : (within + 1) * self.batch_size]


def schedule_of(config: Config, num_videos: int) -> Schedule:
    """The updates of a run over `num_videos` training videos."""
    training = config.train
    return Schedule(num_videos, training.batch_size, training.epochs, training.accumulate, config.seed)


def check_batch(config: Config, schedule: Schedule, ranks: int) -> int:
    """Return how many clips a rank needs in a micro-batch. Raises ConfigError for a batch size that cannot be."""
    parts = ranks * config.train.accumulate
    if schedule.batch_size % parts:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: not divisible by {ranks} ranks x "
            f"train.accumulate {config.train.accumulate}"
        )
    if not schedule.steps_per_epoch:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: data.train has only {schedule.num_videos} videos after the "
            "hold-out, so there is no full batch; choose a smaller one"
        )
    head = config.model.head
    local = schedule.batch_size * config.data.augment.repeated // parts
    needed = 2 if head.batch_norm and not (head.sync and ranks > 1) else 1
    if local < needed:
        raise ConfigError(
            f"train.batch_size = {schedule.batch_size}: leaves one clip for a forward pass, and BatchNorm in the head needs "
            "two; choose a larger one, or set model.head.batch_norm false"
        )
    return needed


class TrainBatches(Sampler[list[SampleKey]]):
    """Keys of this rank's micro-batches, `accumulate` of them for each update from `start_step` to the end."""

    def __init__(self, schedule: Schedule, start_step: int):
        self._schedule = schedule
        self._start_step = start_step

    def __iter__(self) -> Iterator[list[SampleKey]]:
        ranks, accumulate = distributed.world_size(), self._schedule.accumulate
        for step in range(self._start_step, self._schedule.total_steps):
            epoch, rows = self._schedule.rows(step)
            for micro_batch in rows.reshape(accumulate, ranks, -1)[:, distributed.rank()]:
                yield [(epoch, int(row)) for row in micro_batch]

    def __len__(self) -> int:
        return (self._schedule.total_steps - self._start_step) * self._schedule.accumulate


def build_train_loader(videos: Sequence[Video], config: DataConfig, schedule: Schedule, start_step: int) -> Any:
    """Iterates over this rank's ClipBatches from `start_step` to the end of training, across epochs."""
    return DataLoader(
        TrainClips(videos, config, schedule.seed),
        batch_sampler=TrainBatches(schedule, start_step),
        collate_fn=collate_clips,
        **_worker_options(config.workers),
    )


def build_test_loader(videos: Sequence[Video], config: DataConfig, num_clips: int, num_crops: int) -> Any:
    """Iterates over lists of VideoViews or Unreadable; every rank gets every world-size-th video, none twice."""
    rows = range(distributed.rank(), len(videos), distributed.world_size())
    return DataLoader(
        TestViews(videos, config, num_clips, num_crops),
        sampler=rows,
        batch_size=1,
        collate_fn=list,
        **_worker_options(min(config.workers, len(rows))),
    )


def collate_clips(samples: Sequence[list[Clip] | Unreadable]) -> ClipBatch:
    """Stack the clips that could be read; the others travel by name."""
    clips = [clip for sample in samples if not isinstance(sample, Unreadable) for clip in sample]
    return ClipBatch(
        torch.stack([clip.frames_CTHW for clip in clips]) if clips else torch.empty(0, 3, 0, 0, 0, dtype=torch.uint8),
        torch.tensor([clip.video.label for clip in clips], dtype=torch.int64),
        tuple(clip.video.id for clip in clips),
        tuple(clip.erase for clip in clips),
        tuple(sample for sample in samples if isinstance(sample, Unreadable)),
    )


def _worker_options(workers: int) -> dict[str, Any]:
    return {
        "num_workers": workers,
        "worker_init_fn": _init_worker,
        "pin_memory": torch.cuda.is_available(),
        "prefetch_factor": 2 if workers else None,
    }


def _init_worker(worker: int) -> None:
    """Ctrl-C and Slurm's SIGTERM reach every process of a job; only the main one decides when to stop.

    A worker ends when the main process closes the loader, or has gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
