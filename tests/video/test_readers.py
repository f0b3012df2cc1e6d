"""One file to the pixels of its clips and views, as a notebook would ask for them: no list, no config."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.media import write_video
from videoadapt.errors import DecodeError
from videoadapt.video.bicubic import Bicubic
from videoadapt.video.cache.source import FrameSource
from videoadapt.video.letterbox import Letterbox
from videoadapt.video.rand_augment import RandAugment
from videoadapt.video.readers import ClipReader, ViewReader
from videoadapt.video.resizing import resize_to_cover
from videoadapt.video.samplers.dense import Dense
from videoadapt.video.transforms import TrainTransform, view_crops

SOURCE = FrameSource({"name": "pyav"})


def frames_TCHW(path: Path, indices: np.ndarray) -> torch.Tensor:
    with closing(SOURCE.open(path)) as video:
        return torch.from_numpy(video.get(indices)).permute(0, 3, 1, 2)


def test_views_are_the_crops_of_the_sampled_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", height=48, width=80)
    read = ViewReader(SOURCE, Dense(stride_frames=3), num_frames=4, crop_px=32, num_clips=2, num_crops=3)
    views_NJCTHW = read(str(path))
    assert views_NJCTHW.shape == (2, 3, 3, 4, 32, 32) and views_NJCTHW.numel() == read.views_bytes
    for clip, indices in enumerate(Dense(stride_frames=3).test_indices(48, 4, 2)):
        crops = view_crops(resize_to_cover(frames_TCHW(path, indices), 32, 32), 32, 3)
        for crop, view_TCHW in enumerate(crops):
            assert views_NJCTHW[clip, crop].equal(view_TCHW.transpose(0, 1))
    with closing(SOURCE.open(path)) as video:
        assert read(video).equal(views_NJCTHW)


@pytest.mark.parametrize(("height", "width"), [(90, 200), (200, 90)])
@pytest.mark.parametrize("fit", [None, Letterbox(), Bicubic(40)])
def test_where_crops_lie(fit: Letterbox | Bicubic | None, height: int, width: int) -> None:
    """Of a frame whose levels say how far down, and how far across, a pixel is: those in the middle of each crop."""
    ramp_H, ramp_W = (torch.arange(side) * 255 / (side - 1) for side in (height, width))
    frame_HWC = torch.stack(
        [ramp_H[:, None].expand(-1, width), ramp_W.expand(height, -1), ramp_W * 0 + ramp_H[:, None]], -1
    )
    crops = 3 if fit is None else 1
    read = ViewReader(SOURCE, Dense(stride_frames=3), num_frames=4, crop_px=32, num_clips=1, num_crops=crops, fit=fit)
    boxes = read.boxes(height, width)
    seen_JCHW = read.crops(frame_HWC.round().to(torch.uint8))
    assert len(boxes) == len(seen_JCHW) == crops
    for box, seen_CHW in zip(boxes, seen_JCHW, strict=True):
        down, across = (seen_CHW[channel, 15:17, 15:17].float().mean() / 255 for channel in (0, 1))
        assert (box.top + box.bottom) / 2 == pytest.approx(float(down), abs=0.03)
        assert (box.left + box.right) / 2 == pytest.approx(float(across), abs=0.03)
        assert (min(box) < 0) == isinstance(fit, Letterbox)
    assert len({tuple(box) for box in boxes}) == crops


def test_a_clip_is_decided_by_its_generator(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    transform = TrainTransform(crop_px=32, crop="centre", flip=0.0, erasing=0.0)
    read = ClipReader(SOURCE, Dense(stride_frames=3), transform, num_frames=4)
    clips_RCTHW, erase = read(path, [np.random.default_rng(seed) for seed in (1, 2, 1)])
    assert clips_RCTHW.shape == (3, 3, 4, 32, 32) and erase == (None, None, None)
    assert clips_RCTHW[0].equal(clips_RCTHW[2]) and not clips_RCTHW[0].equal(clips_RCTHW[1])
    indices = Dense(stride_frames=3).train_indices(48, 4, np.random.default_rng(1))
    expected = view_crops(resize_to_cover(frames_TCHW(path, indices), 32, 32), 32, 1)[0]
    assert clips_RCTHW[0].equal(expected.transpose(0, 1)) and clips_RCTHW[0].numel() == read.clip_bytes


def test_one_set_of_frames_is_augmented_twice(tmp_path: Path) -> None:
    """VideoMAE's repeated augmentation: the frames are the first generator's, all else is each one's own."""
    path = write_video(tmp_path / "a.mp4", height=48, width=80)
    dense, augment = Dense(stride_frames=3), RandAugment("rand-m7-n4-mstd0.5-inc1")
    transform = TrainTransform(crop_px=32, crop="random_resized", flip=0.5, erasing=0.5, augment=augment)
    clips_RCTHW, erase = ClipReader(SOURCE, dense, transform, num_frames=4, same_frames=True)(
        path, [np.random.default_rng(seed) for seed in (1, 2, 3)]
    )
    for number, seed in enumerate((1, 2, 3)):
        rng = np.random.default_rng(seed)
        indices = dense.train_indices(48, 4, rng if seed == 1 else np.random.default_rng(1))
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        expected, box = transform(frames_TCHW(path, indices).permute(0, 2, 3, 1), generator)
        assert clips_RCTHW[number].equal(expected) and erase[number] == box
    assert not clips_RCTHW[1].equal(clips_RCTHW[2])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    read = ViewReader(SOURCE, Dense(), num_frames=4, crop_px=32, num_clips=1, num_crops=1)
    with pytest.raises(DecodeError, match=r"empty\.mp4: is empty"):
        read(tmp_path / "empty.mp4")
