"""One video file to the pixels of its training clips or of its test views: what a loader's process does.

Every random choice about a clip comes from (seed, epoch, row, repeat), so it depends neither on workers nor on ranks.
Shapes: R clips of one video, N test clips, J crops, T frames, H W pixels.
"""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from videoadapt.config.schema import DataConfig
from videoadapt.data.batches import TestItem, TrainItem
from videoadapt.errors import DecodeError
from videoadapt.registry import SAMPLERS
from videoadapt.video.cache.entry import Frames
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.rand_augment import RandAugment
from videoadapt.video.samplers import Sampler
from videoadapt.video.transforms import EraseBox, TrainTransform, resize_short_side, view_crops

_DECODED_BYTES = (
    128 * 2**20
)  # of whole frames that a test video holds at a time; a file read in order starts anew for more


class TrainClips:
    """Reads `augment.repeated` clips of a video, each frame decoded once."""

    def __init__(self, config: DataConfig, seed: int):
        self._config = config
        self._seed = seed
        self._source = FrameSource(config)
        self._sampler: Sampler = SAMPLERS.build(config.sampling)
        augment = config.augment
        self.sample_bytes = augment.repeated * 3 * config.num_frames * config.crop_px**2
        self._transform = TrainTransform(
            crop_px=config.crop_px,
            crop=augment.crop,
            flip=augment.flip,
            erasing=augment.erasing,
            augment=RandAugment(augment.rand_augment) if augment.rand_augment else None,
        )

    def __call__(self, item: TrainItem) -> tuple[Tensor | None, list[EraseBox | None] | str]:
        """Return uint8 (R, 3, T, H, W) and what to erase of each clip; or None and why the file cannot be read."""
        config = self._config
        rngs = [
            np.random.default_rng([self._seed, item.epoch, item.row, repeat])
            for repeat in range(config.augment.repeated)
        ]
        try:
            with closing(self._source.open(item.video.path)) as film:
                indices = [self._sampler.train_indices(film.num_frames, config.num_frames, rng) for rng in rngs]
                frames = _decode_once(film, indices)
        except DecodeError as error:
            return None, str(error)
        clips, erase = [], []
        for frames_THWC, rng in zip(frames, rngs, strict=True):
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            clip_CTHW, box = self._transform(frames_THWC, generator)
            clips.append(clip_CTHW)
            erase.append(box)
        return torch.stack(clips), erase


class TestViews:
    """Reads all (clip, crop) views of a video from one decode."""

    def __init__(self, config: DataConfig, num_clips: int, num_crops: int):
        self._config = config
        self._source = FrameSource(config)
        self._sampler: Sampler = SAMPLERS.build(config.sampling)
        self._num_clips = num_clips
        self._num_crops = num_crops
        self.sample_bytes = num_clips * num_crops * 3 * config.num_frames * config.crop_px**2

    def __call__(self, item: TestItem) -> tuple[Tensor | None, str]:
        """Return uint8 (N * J, 3, T, H, W), clip-major; or None and why the file cannot be read."""
        try:
            with closing(self._source.open(item.video.path)) as film:
                return self._views(film), ""
        except DecodeError as error:
            return None, str(error)

    def _views(self, film: Frames) -> Tensor:
        """Each frame is decoded once, and only its crops are kept, however large it is."""
        config, crop_px = self._config, self._config.crop_px
        indices_NT = self._sampler.test_indices(film.num_frames, config.num_frames, self._num_clips)
        views_NJCTHW = torch.empty(
            self._num_clips, self._num_crops, 3, config.num_frames, crop_px, crop_px, dtype=torch.uint8
        )
        wanted = np.unique(indices_NT)
        at_once = max(1, _DECODED_BYTES // (3 * film.height * film.width))
        for start in range(0, len(wanted), at_once):
            part = wanted[start : start + at_once]
            for index, frame_HWC in zip(part, torch.from_numpy(film.get(part)), strict=True):
                resized_1CHW = resize_short_side(frame_HWC.permute(2, 0, 1)[None], crop_px)
                crops_JCHW = torch.cat(view_crops(resized_1CHW, crop_px, self._num_crops))
                for clip, place in np.argwhere(indices_NT == index):
                    views_NJCTHW[clip, :, :, place] = crops_JCHW
        return views_NJCTHW.flatten(0, 1)


def _decode_once(film: Frames, indices: Sequence[np.ndarray]) -> list[Tensor]:
    """Frames for each list of indices, (T, H, W, 3) uint8, each frame decoded once."""
    unique, inverse = np.unique(np.stack(indices), return_inverse=True)
    frames_THWC = torch.from_numpy(film.get(unique))
    if len(indices) == 1 and len(unique) == len(indices[0]):  # in ascending order already: no copy
        return [frames_THWC]
    return [frames_THWC[rows] for rows in torch.from_numpy(inverse.reshape(len(indices), -1))]
