"""Crops, resizes and normalising against PIL, an exact restatement of cv2's arithmetic, and the drawn distributions."""

import math
import random
import re
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as V

from videoadapt.errors import ConfigError
from videoadapt.video import transforms
from videoadapt.video.boxes import EraseBox, draw_erase_box, draw_resized_box, multi_scale_boxes
from videoadapt.video.resizing import resize_to_cover
from videoadapt.video.transforms import IMAGENET_MEAN, IMAGENET_STD, TrainTransform, normalise, view_crops


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _frames(num_frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Noise over a coarse pattern, (T, H, W, C): worse for a resize than any camera."""
    coarse = torch.rand(num_frames, 3, 9, 12, generator=_generator(seed))
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic") * 200
    noise = torch.rand(smooth.shape, generator=_generator(seed + 1)) * 55
    return (smooth + noise).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()


def _pil(frames_THWC: Tensor, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    top, left, height, width = box
    images = [Image.fromarray(f).crop((left, top, left + width, top + height)) for f in frames_THWC.numpy()]
    return np.stack([np.asarray(i.resize((size, size), Image.Resampling.BILINEAR)) for i in images]).astype(int)


def _thwc(clip_CTHW: Tensor) -> np.ndarray:
    return clip_CTHW.permute(1, 2, 3, 0).numpy().astype(int)


def _plain(crop: transforms.Crop, crop_px: int = 48, flip: float = 0.0, erasing: float = 0.0) -> TrainTransform:
    return TrainTransform(crop_px=crop_px, crop=crop, flip=flip, erasing=erasing)


# --- multi-scale crop -------------------------------------------------------------------------------------------------


def test_multi_scale_has_ten_sizes_from_adjacent_scales() -> None:
    sizes = [boxes[0][2:] for boxes in multi_scale_boxes(240, 320, 224)]
    squares = [(240, 240), (210, 210), (180, 180), (158, 158)]
    wide = [(210, 240), (180, 210), (158, 180)]
    assert sorted(sizes) == sorted([*squares, *wide, *((w, h) for h, w in wide)])
    assert multi_scale_boxes(320, 240, 224)[0][0][2:] == (240, 240)


def test_multi_scale_has_thirteen_positions() -> None:
    boxes = {boxes[0][2:]: boxes for boxes in multi_scale_boxes(240, 320, 224)}[158, 180]
    corners_and_centre = {(0, 0), (0, 140), (80, 0), (80, 140), (40, 70)}
    edges = {(40, 0), (40, 140), (80, 70), (0, 70)}
    quarters = {(20, 35), (20, 105), (60, 35), (60, 105)}
    assert len(boxes) == 13
    assert {box[:2] for box in boxes} == corners_and_centre | edges | quarters


@pytest.mark.parametrize(
    ("short", "sides"),
    [
        (256, {256, 224, 192, 168}),
        (254, {254, 224, 190, 167}),  # 222 snaps to 224
        (253, {253, 221, 189, 166}),  # 221 is 3 pixels away and does not
        (226, {224, 197, 169, 149}),
        (222, {222, 194, 166, 146}),  # 224 would leave the frame
    ],
)
def test_multi_scale_snaps_to_the_crop_size(short: int, sides: set[int]) -> None:
    boxes = [box for boxes in multi_scale_boxes(short, 340, 224) for box in boxes]
    assert {side for box in boxes for side in box[2:]} == sides
    assert all(top >= 0 and left >= 0 and top + h <= short and left + w <= 340 for top, left, h, w in boxes)


@pytest.mark.parametrize("index", range(10))
@pytest.mark.parametrize(("height", "width"), [(240, 320), (256, 340)])
def test_multi_scale_resize_equals_pil(height: int, width: int, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both round to whole grey levels after each axis. PIL's weights have 22 bits and torch's 15, so that sums close to
    # one half may round apart: once is one level, on both axes of one pixel (seen for 192 -> 224 only) it is two.
    frames = _frames(2, height, width)
    box = multi_scale_boxes(height, width, 224)[index][12]
    monkeypatch.setattr(transforms, "multi_scale_boxes", lambda *args: [[box]])
    clip, erase = _plain("multi_scale", 224)(frames, _generator())
    difference = np.abs(_thwc(clip) - _pil(frames, box, 224))
    assert difference.mean() < 0.3 and (difference > 1).mean() < 1e-4 and difference.max() <= 2
    assert erase is None


def test_multi_scale_draws_every_box_alike() -> None:
    frames = _frames(1, 40, 56)
    boxes = [box for boxes in multi_scale_boxes(40, 56, 24) for box in boxes]
    expected = {box: _pil(frames, box, 24)[0] for box in boxes}
    stacked = np.stack(list(expected.values()))
    transform, generator, drawn = _plain("multi_scale", 24), _generator(), Counter[bytes]()
    for _ in range(2600):
        drawn[transform(frames, generator)[0].numpy().tobytes()] += 1
    counts = Counter[tuple[int, ...]]()
    for clip, times in drawn.items():
        clip_CTHW = torch.frombuffer(bytearray(clip), dtype=torch.uint8).view(3, 1, 24, 24)
        distance = np.abs(stacked - _thwc(clip_CTHW)).max(axis=(1, 2, 3))
        assert distance.min() <= 2
        counts[list(expected)[int(distance.argmin())]] += times
    multiplicity = Counter(boxes)  # the full height leaves no free rows, so that some of the 13 positions coincide
    assert sum(multiplicity.values()) == 130
    for box, times in multiplicity.items():
        assert abs(counts[box] - 20 * times) < 5.5 * math.sqrt(20 * times), (box, times, counts[box])


# --- random-resized and centre crop -----------------------------------------------------------------------------------


def test_random_resized_pixels_are_plain_bilinear(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _frames(2, 256, 340)
    for box in [(10, 20, 200, 180), (0, 0, 256, 340), (30, 5, 80, 100)]:
        monkeypatch.setattr(transforms, "draw_resized_box", lambda *args, box=box: box)
        clip, _ = _plain("random_resized", 224)(frames, _generator())
        top, left, h, w = box
        cut = frames.permute(0, 3, 1, 2)[..., top : top + h, left : left + w].float()
        exact = F.interpolate(cut, size=(224, 224), mode="bilinear", align_corners=False)
        difference = (clip.transpose(0, 1).float() - exact).abs()
        assert difference.max() <= 1.01 and difference.mean() < 0.4  # whole grey levels: 0.25 by rounding alone
        if max(h, w) > 224:
            antialiased = F.interpolate(cut, size=(224, 224), mode="bilinear", antialias=True)
            assert (antialiased - exact).abs().mean() > 0.4


def test_random_resized_boxes_are_drawn_as_by_torchvision() -> None:
    rng = random.Random(0)
    ours = np.array([draw_resized_box(256, 340, rng) for _ in range(4000)])
    torch.manual_seed(0)
    image = torch.zeros(3, 256, 340)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    for column in range(4):
        points = np.sort(np.concatenate([ours[:, column], theirs[:, column]]))
        cdf = [np.searchsorted(np.sort(draws[:, column]), points, side="right") / 4000 for draws in (ours, theirs)]
        assert np.abs(cdf[0] - cdf[1]).max() < 0.044  # two-sample Kolmogorov-Smirnov at 1 in 1000
    area, aspect = ours[:, 2] * ours[:, 3] / (256 * 340), ours[:, 3] / ours[:, 2]
    assert 0.078 < area.min() < 0.09 and area.max() > 0.9
    assert 0.73 < aspect.min() < 0.77 and 1.3 < aspect.max() < 1.36


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(20, 400, (0, 186, 20, 27)), (400, 20, (186, 0, 27, 20))],
)
def test_random_resized_falls_back_to_the_centre(height: int, width: int, box: tuple[int, ...]) -> None:
    assert draw_resized_box(height, width, random.Random(0)) == box


def test_centre_crop_draws_nothing() -> None:
    frames = _frames(2, 120, 160)
    clips = [_plain("centre")(frames, _generator(seed))[0] for seed in range(3)]
    resized = resize_to_cover(frames.permute(0, 3, 1, 2), 48, 48)
    assert resized.shape == (2, 3, 48, 64)
    assert all(torch.equal(clip.transpose(0, 1), resized[..., 8:56]) for clip in clips)


def test_random_crop_is_a_test_crop_moved_along_the_long_side() -> None:
    for height, width in ((120, 160), (160, 120)):
        frames = _frames(2, height, width)
        resized = resize_to_cover(frames.permute(0, 3, 1, 2), 48, 48)
        places = resized.unfold(-2, 48, 1).unfold(-2, 48, 1).flatten(2, 3)
        found = set()
        for seed in range(200):
            clip = _plain("random")(frames, _generator(seed))[0].transpose(0, 1)
            found |= {n for n in range(places.shape[2]) if torch.equal(places[:, :, n], clip)}
        assert places.shape[2] == 17 and found == set(
            range(17)
        )  # each of the 17 places, with chance 1e-4 of missing one


# --- the whole transform ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", ["multi_scale", "random_resized", "random", "centre"])
def test_a_clip_is_uint8_and_every_frame_is_treated_alike(crop: transforms.Crop) -> None:
    frames = _frames(1, 100, 133).expand(5, -1, -1, -1)
    clip, _ = _plain(crop, flip=0.5)(frames, _generator(3))
    assert clip.shape == (3, 5, 48, 48) and clip.dtype == torch.uint8 and clip.is_contiguous()
    assert all(torch.equal(clip[:, 0], clip[:, t]) for t in range(5))


@pytest.mark.parametrize("crop", ["multi_scale", "random_resized", "random", "centre"])
def test_flip_mirrors_the_same_crop(crop: transforms.Crop) -> None:
    frames = _frames(2, 100, 133)
    for seed in range(5):
        straight, _ = _plain(crop)(frames, _generator(seed))
        mirrored, _ = _plain(crop, flip=1.0)(frames, _generator(seed))
        assert torch.equal(mirrored, straight.flip(-1)) and not torch.equal(mirrored, straight)


def test_flip_and_erasing_happen_as_often_as_asked() -> None:
    frames, generator = _frames(1, 24, 32), _generator()
    transform = _plain("centre", 24, flip=0.3, erasing=0.25)
    straight = _plain("centre", 24)(frames, generator)[0]
    results = [transform(frames, generator) for _ in range(2000)]
    assert abs(sum(not torch.equal(clip, straight) for clip, _ in results) - 600) < 5 * math.sqrt(2000 * 0.21)
    assert abs(sum(box is not None for _, box in results) - 500) < 5 * math.sqrt(2000 * 0.1875)


def test_noise_is_normal_and_of_another_deviation_in_each_clip() -> None:
    grey, generator = torch.full((8, 32, 32, 3), 128, dtype=torch.uint8), _generator()
    transform = TrainTransform(crop_px=32, crop="centre", flip=0, erasing=0, noise=30)
    noise = torch.stack([transform(grey, generator)[0].float() - 128 for _ in range(200)]).flatten(1)
    deviations = noise.std(dim=1)
    assert deviations.min() < 2 and 28 < deviations.max() < 30.5  # of 24,576 values: 0.5 % off
    assert abs(deviations.mean() - 15) < 5 * 30 / math.sqrt(12 * 200)  # uniform from 0 to 30
    loud = noise[deviations > 10]
    within = (loud.abs() <= deviations[deviations > 10, None]).float().mean()
    assert abs(within - 0.683) < 0.03 and loud.mean().abs() < 0.1  # whole levels: a share of one deviation more or less
    frames = noise[deviations.argmax()].view(3, 8, -1)
    assert not torch.equal(frames[0], frames[1]) and not torch.equal(frames[:, 0], frames[:, 1])


def test_noise_stays_in_range_and_off_draws_nothing() -> None:
    black = torch.zeros(4, 24, 24, 3, dtype=torch.uint8)
    noisy, _ = TrainTransform(crop_px=24, crop="centre", flip=0, erasing=0, noise=60)(black, _generator(3))
    assert noisy.dtype == torch.uint8 and 0.4 < (noisy == 0).float().mean() < 0.6 and noisy.max() < 250
    frames = _frames(2, 100, 133)
    off, box = TrainTransform(crop_px=48, crop="random", flip=0.5, erasing=0.5, noise=0)(frames, _generator(5))
    plain, same_box = _plain("random", flip=0.5, erasing=0.5)(frames, _generator(5))
    assert torch.equal(off, plain) and box == same_box


def test_everything_random_comes_from_the_given_generator() -> None:
    frames = _frames(2, 100, 133)
    transform = TrainTransform(crop_px=48, crop="random_resized", flip=0.5, erasing=1.0, noise=20)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index,union-attr]
    first, box = transform(frames, _generator(7))
    assert random.getstate() == before[0] and np.random.get_state()[1].tolist() == before[1]  # type: ignore[index,union-attr]
    assert torch.equal(torch.get_rng_state(), before[2])
    random.seed(2)
    torch.manual_seed(2)
    again, same_box = transform(frames, _generator(7))
    other, other_box = transform(frames, _generator(8))
    assert torch.equal(first, again) and box == same_box
    assert not torch.equal(first, other) and box != other_box


def test_augment_sees_whole_frames_first_and_the_same_generator() -> None:
    frames, generator = _frames(2, 100, 133), _generator()
    seen = []

    def augment(frames_TCHW: Tensor, given: torch.Generator) -> Tensor:
        seen.append((tuple(frames_TCHW.shape), given is generator))
        return 255 - frames_TCHW

    transform = TrainTransform(crop_px=48, crop="centre", flip=0, erasing=0, augment=augment)
    clip, _ = transform(frames, generator)
    assert seen == [((2, 3, 100, 133), True)]
    assert torch.equal(clip, _plain("centre")(255 - frames, _generator())[0])


def test_bicubic_is_another_resize() -> None:
    frames = _frames(2, 100, 133)
    smooth, _ = _plain("random_resized")(frames, _generator())
    sharp, _ = TrainTransform(crop_px=48, crop="random_resized", flip=0, erasing=0, interpolation="bicubic")(
        frames, _generator()
    )
    assert not torch.equal(sharp, smooth) and (sharp.float() - smooth.float()).abs().mean() < 15


def test_wrong_settings_are_all_listed() -> None:
    with pytest.raises(ConfigError) as error:
        TrainTransform(crop_px=0, crop="middle", flip=1.5, erasing=-1, noise=300, interpolation="area")  # type: ignore[arg-type]
    assert [re.split("[: ]", problem)[0] for problem in error.value.problems] == [
        "flip",
        "erasing",
        "noise",
        "crop_px",
        "crop",
        "interpolation",
    ]
    assert "multi_scale, random_resized, random_clipped, random, centre" in str(error.value)
    with pytest.raises(ConfigError, match="always bilinear"):
        TrainTransform(crop_px=48, crop="centre", flip=0, erasing=0, interpolation="bicubic")


def test_erase_boxes_cover_the_stated_range() -> None:
    rng = random.Random(0)
    boxes = [draw_erase_box(224, 224, rng) for _ in range(4000)]
    assert all(box is not None and box.top + box.height <= 224 and box.left + box.width <= 224 for box in boxes)
    areas = np.array([box.height * box.width / 224**2 for box in boxes if box])
    aspects = np.log([box.height / box.width for box in boxes if box])
    assert 0.018 < areas.min() < 0.03 and 0.32 < areas.max() < 0.338
    assert abs(aspects.mean()) < 0.06 and 1.15 < aspects.max() < 1.23 and -1.23 < aspects.min() < -1.15
    # Uniform but for the few shapes that are too long for the frame; tops reach from edge to edge.
    assert abs(np.median(areas) - (0.02 + 1 / 3) / 2) < 0.015
    assert min(box.top for box in boxes if box) == 0
    assert max(box.top + box.height for box in boxes if box) == 224
    assert len({box.seed for box in boxes if box}) == 4000


# --- test resize and views --------------------------------------------------------------------------------------------


def _cv2_linear(frame_HWC: np.ndarray, new_height: int, new_width: int) -> np.ndarray:
    """cv2's INTER_LINEAR for uint8, position by position: weights in 1/2048, then 4, 16 and 2 bits shifted out."""
    height, width = frame_HWC.shape[:2]

    def taps(i: int, new: int, old: int) -> list[tuple[int, int]]:
        position = np.float32((i + 0.5) * (old / new) - 0.5)
        first = math.floor(position)
        fraction = np.float32(position - np.float32(first))
        weights = [
            round(float((np.float32(1) - fraction) * np.float32(2048))),
            round(float(fraction * np.float32(2048))),
        ]
        return [(min(max(first + k, 0), old - 1), weight) for k, weight in enumerate(weights)]

    columns = [taps(x, new_width, width) for x in range(new_width)]
    source = frame_HWC.astype(np.int64)
    across = np.stack([sum(source[:, i] * weight for i, weight in pair) for pair in columns], axis=1) >> 4
    rows = [taps(y, new_height, height) for y in range(new_height)]
    return np.stack([(sum((across[i] * weight) >> 16 for i, weight in pair) + 2) >> 2 for pair in rows]).astype(
        np.uint8
    )


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [
        (240, 320, 224, (224, 298)),
        (256, 340, 224, (224, 297)),
        (340, 256, 224, (297, 224)),
        (90, 160, 48, (48, 85)),
        (40, 53, 112, (112, 148)),  # enlarging
        (96, 96, 48, (48, 48)),  # exactly half
        (131, 77, 76, (129, 76)),
    ],
)
def test_resize_to_cover_equals_cv2(height: int, width: int, short: int, expected: tuple[int, int]) -> None:
    for frames in (_frames(2, height, width), torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)):
        resized = resize_to_cover(frames.permute(0, 3, 1, 2), short, short)
        assert resized.shape == (2, 3, *expected) and resized.dtype == torch.uint8
        reference = np.stack([_cv2_linear(frame, *expected) for frame in frames.numpy()])
        assert np.array_equal(resized.permute(0, 2, 3, 1).numpy(), reference)


def test_resize_to_cover_gives_numbers_printed_by_cv2() -> None:
    # cv2 4.10 and 5.0: cv2.resize((np.arange(63) * 37 % 256).astype(np.uint8).reshape(7, 9), size)
    frame = (torch.arange(63) * 37 % 256).byte().view(1, 1, 7, 9)
    assert resize_to_cover(frame, 5, 5)[0, 0].tolist() == [
        [25, 80, 135, 153, 144, 46],
        [132, 188, 90, 69, 98, 154],
        [176, 40, 95, 151, 206, 70],
        [92, 147, 177, 156, 58, 113],
        [200, 102, 93, 110, 166, 221],
    ]
    assert resize_to_cover(frame, 11, 11)[0, 0, 1].tolist() == [
        35,
        52,
        76,
        100,
        124,
        147,
        171,
        157,
        106,
        126,
        115,
        49,
        58,
        75,
    ]


def test_resize_to_cover_leaves_fitting_frames_alone() -> None:
    frames = _frames(2, 48, 64).permute(0, 3, 1, 2)
    assert resize_to_cover(frames, 48, 48) is frames


def test_resize_to_cover_of_a_real_video_is_not_antialiased(clips_dir: Path) -> None:
    with av.open(str(clips_dir / "v_SoccerJuggling_g23_c01.avi")) as container:
        decoded = [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(8), container.decode(video=0), strict=False)
        ]
    frames = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)
    plain = resize_to_cover(frames, 224, 224)
    smooth = F.interpolate(frames, size=plain.shape[-2:], mode="bilinear", antialias=True)
    difference = (plain.int() - smooth.int()).abs()
    assert 0.1 < difference.float().mean() < 1.5 and difference.max() <= 40
    assert np.array_equal(plain[0].permute(1, 2, 0).numpy(), _cv2_linear(decoded[0], *plain.shape[-2:]))


@pytest.mark.parametrize(
    ("height", "width", "num_crops", "corners"),
    [
        (224, 298, 3, [(0, 0), (0, 37), (0, 74)]),
        (224, 297, 3, [(0, 0), (0, 36), (0, 73)]),
        (297, 224, 3, [(0, 0), (36, 0), (73, 0)]),
        (224, 299, 3, [(0, 0), (0, 37), (0, 75)]),  # 37.5 is cut off, not rounded
        (224, 298, 1, [(0, 37)]),
        (224, 224, 3, [(0, 0), (0, 0), (0, 0)]),
        (256, 340, 5, [(16, 0), (16, 29), (16, 58), (16, 87), (16, 116)]),
    ],
)
def test_view_crops_are_spread_along_the_long_side(
    height: int, width: int, num_crops: int, corners: list[tuple[int, int]]
) -> None:
    frames = torch.arange(height * width).view(1, 1, height, width)
    crops = view_crops(frames, 224, num_crops)
    assert [divmod(int(crop[0, 0, 0, 0]), width) for crop in crops] == corners
    assert all(crop.shape == (1, 1, 224, 224) for crop in crops)
    assert all(crop.untyped_storage().data_ptr() == frames.untyped_storage().data_ptr() for crop in crops)


def test_view_crops_refuses_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="crop_px: 49 does not fit frames of 48 x 64"):
        view_crops(torch.zeros(1, 3, 48, 64), 49, 1)
    with pytest.raises(ConfigError, match="num_crops: 0"):
        view_crops(torch.zeros(1, 3, 48, 64), 48, 0)


# --- normalise --------------------------------------------------------------------------------------------------------


def test_normalise_equals_torchvision_and_is_not_in_place() -> None:
    clips = torch.stack([_frames(4, 20, 24, seed).permute(3, 0, 1, 2) for seed in range(2)])
    kept = clips.clone()
    expected = V.normalize(clips.transpose(1, 2).float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD)).transpose(1, 2)
    for given in (clips, clips.float()):
        out = normalise(given, (None, None))
        assert out.dtype == torch.float32
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
        assert torch.equal(given.byte(), kept)
    grey = normalise(torch.full((1, 3, 1, 2, 2), 51, dtype=torch.uint8), (None,), (0.1, 0.2, 0.3), (1, 2, 4))
    torch.testing.assert_close(grey[0, :, 0, 0, 0], torch.tensor([0.1, 0.0, -0.025]))


def test_normalise_fills_only_the_box_with_noise_of_its_seed() -> None:
    clips = torch.zeros(3, 3, 8, 64, 64, dtype=torch.uint8)
    box = EraseBox(top=10, left=4, height=40, width=30, seed=2**61 + 5)
    out = normalise(clips, (None, box, box._replace(seed=6)))
    inside = (..., slice(10, 50), slice(4, 34))
    noise = out[1][inside]
    assert torch.equal(noise, torch.randn(3, 8, 40, 30, generator=torch.Generator().manual_seed(2**61 + 5)))
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert not torch.equal(noise[:, 0], noise[:, 1]) and not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, out[2][inside])
    changed = (out != normalise(clips, (None, None, None))).any(dim=1)
    assert not changed[0].any()
    assert changed[1][inside].all() and changed[1].sum() == 8 * 40 * 30


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("compiled", [False, True])
def test_normalise_is_the_same_on_the_gpu(compiled: bool) -> None:
    clips = torch.randint(0, 256, (1, 3, 4, 32, 32), dtype=torch.uint8)
    erase = (EraseBox(2, 3, 20, 10, 1),)
    on_gpu = normalise(clips.cuda(), erase, compiled=compiled)
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), normalise(clips, erase), rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("compiled", [False, True])
def test_normalise_is_compiled_where_it_is_asked_for(
    compiled: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tensors without numbers, which need no GPU; on a CPU no compiler is asked for."""
    calls: list[int] = []
    monkeypatch.setattr(transforms, "_compiled", lambda: lambda *given: calls.append(1) or torch.addcmul(*given))
    with FakeTensorMode():
        clips = torch.empty(2, 3, 4, 8, 8, dtype=torch.uint8, device=device)
        made = normalise(clips, (None, None), compiled=compiled)
    assert made.dtype == torch.float32 and made.shape == clips.shape
    assert bool(calls) == (compiled and device == "cuda")


def test_normalise_wants_one_box_or_none_per_clip() -> None:
    with pytest.raises(ValueError, match="2 clips, but 1 erase boxes"):
        normalise(torch.zeros(2, 3, 1, 4, 4), (None,))
