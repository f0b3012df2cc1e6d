"""Pictures as published models of images see them: torchvision's pixels to the bit, MAE's boxes to the number."""

import hashlib
import math
import random

import numpy as np
import pytest
import torch
from PIL import Image

from videoadapt.config.loading import check_config, load_config
from videoadapt.config.schema import DataConfig
from videoadapt.errors import ConfigError
from videoadapt.runs.checks import setting_problems
from videoadapt.runs.frame_size import fit_of
from videoadapt.video.bicubic import Bicubic
from videoadapt.video.boxes import draw_clipped_box
from videoadapt.video.transforms import TrainTransform

# sha256 of what torchvision 0.26 and Pillow 12.3.0 make of noise, short side 256, 224 and 227, middle of 224; Pillow 13 makes
# another picture of the last size
PILLOW_12 = {
    (375, 500): ("d818dcaedd89", "906d23732334", "afc0795f5362"),
    (500, 375): ("944fb684ee4b", "62dde0674d54", "19af30e9fad3"),
    (32, 32): ("a97c2ba95090", "9a76eb1e85d8", "c6a49c78d2b7"),
    (256, 256): ("50d9a0663a27", "87f6af9b6b5e", "4ef05ed47ee3"),
    (259, 257): ("5cc3c5d64412", "5ff5ac41b11c", "c5d9f39aa575"),
    (17, 20): ("d3e78358f94a", "7599b032f99e", "3115ea3e143b"),
    (224, 227): ("321d1e086f0f", "02bb2233ee08", "158ad5747fd9"),
    (1000, 300): ("c3d846aa8a73", "97f8736784f9", "0903a9732311"),
}


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", PILLOW_12)
def test_a_test_view_is_torchvisions(size: tuple[int, int]) -> None:
    frames_TCHW = torch.from_numpy(noise(*size)).permute(2, 0, 1)[None]
    views = [Bicubic(short_px).centred(frames_TCHW, (224, 224))[0].permute(1, 2, 0) for short_px in (256, 224, 227)]
    assert tuple(hashlib.sha256(view.numpy().tobytes()).hexdigest()[:12] for view in views) == PILLOW_12[size]


def test_without_a_side_the_crop_is_just_covered() -> None:
    frames = torch.from_numpy(noise(30, 40)).permute(2, 0, 1)[None]
    assert Bicubic().centred(frames, (30, 30)).equal(frames[..., 5:35])
    assert Bicubic().centred(frames, (32, 64)).shape == (1, 3, 32, 64)
    places = {
        tuple(Bicubic().anywhere(frames, (30, 30), random.Random(seed))[0, 0, 0, :3].tolist()) for seed in range(60)
    }
    assert len(places) == 11


def test_boxes_are_those_of_maes_code() -> None:
    """Written out: area and shape drawn once, what is longer than the frame cut to it."""
    cut = 0
    for seed in range(500):
        top, left, height, width = draw_clipped_box(100, 120, random.Random(seed))
        rng = random.Random(seed)
        area = 100 * 120 * rng.uniform(0.08, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        drawn = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        cut += drawn != (height, width)
        assert (height, width) == (min(drawn[0], 100), min(drawn[1], 120))
        assert 0 <= top <= 100 - height and 0 <= left <= 120 - width
    assert cut > 30


def test_a_training_crop_is_its_box_resized_by_pillow() -> None:
    frame_HWC = noise(90, 120)
    transform = TrainTransform(crop_px=64, crop="random_clipped", flip=0.0, erasing=0.0, fit=Bicubic(73))
    for seed in range(20):
        clip, _ = transform(torch.from_numpy(frame_HWC)[None], torch.Generator().manual_seed(seed))
        rng = random.Random(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed))))
        top, left, height, width = draw_clipped_box(90, 120, rng)
        box = Image.fromarray(frame_HWC[top : top + height, left : left + width])
        narrow = box.resize((64, height), Image.Resampling.BICUBIC)  # rows first, as one call did before Pillow 13
        theirs = np.asarray(narrow.resize((64, 64), Image.Resampling.BICUBIC))
        assert np.array_equal(clip[:, 0].permute(1, 2, 0), theirs)


def test_what_does_not_go_together() -> None:
    def problems(*overrides: str) -> list[str]:
        return [line for line in setting_problems(load_config("hmdb51_adapt", overrides)) if "resize" in line]

    one_view = ("test.crops=1", "data.resize=bicubic")
    assert problems(*one_view, "data.resize_px=256") == []
    assert problems("data.resize_px=256") == ["data.resize_px = 256: is of data.resize bicubic; set it to null"]
    assert problems(*one_view, "data.resize_px=200") == [
        "data.resize_px = 200: is less than data.crop_px = 224; allowed: that or more, or null"
    ]
    assert problems("data.resize=bicubic") == [
        "test.crops = 3: data.resize bicubic has one view of a clip, its middle; set it to 1"
    ]
    with pytest.raises(ConfigError, match="resize_px = 20: allowed: 32 or more"):
        Bicubic(20).centred(torch.zeros(1, 3, 9, 9, dtype=torch.uint8), (32, 40))
    assert fit_of(DataConfig(resize="bicubic", resize_px=9)) == Bicubic(9) and fit_of(DataConfig()) is None
    check_config({"output": "x", "data": {"augment": {"crop": "random_clipped"}}})
