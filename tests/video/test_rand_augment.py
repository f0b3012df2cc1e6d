"""RandAugment against timm: the text form, the draws, every operation's pixels, and whole chains of operations."""

import math
import random
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import auto_augment
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.video.operations import OPERATIONS
from videoadapt.video.rand_augment import GREY, Draw, RandAugment

VIDEOMAE = "rand-m7-n4-mstd0.5-inc1"
GEOMETRIC = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _frames(num_frames: int = 3, height: int = 60, width: int = 83) -> Tensor:
    """Frames (T, C, H, W) with smooth parts, noise, flat patches and a reduced range, each frame another."""
    coarse = torch.rand(num_frames, 3, 5, 6, generator=_generator(1))
    frames = F.interpolate(coarse, size=(height, width), mode="bicubic") * 190 + 20
    frames[..., : width // 2] += torch.randn(num_frames, 3, height, width // 2, generator=_generator(2)) * 12
    frames[..., 10:25, 50:70] = torch.tensor([100.0, 127.0, 128.0]).view(3, 1, 1)
    return frames.clamp(8, 247).byte()


def _timm(frames_TCHW: Tensor, name: str, argument: float, fill: tuple[int, int, int] = GREY) -> Tensor:
    """timm's operation on every frame by itself, through PIL."""
    images = [Image.fromarray(frame) for frame in frames_TCHW.permute(0, 2, 3, 1).contiguous().numpy()]
    if name == "PosterizeIncreasing" and argument == 0:  # black in timm's definition, refused by PIL 13
        return torch.zeros_like(frames_TCHW)
    arguments = () if name in {"AutoContrast", "Equalize", "Invert"} else (argument,)
    operation = auto_augment.NAME_TO_OP[name]
    done = [operation(i, *arguments, fillcolor=fill, resample=Image.Resampling.BICUBIC) for i in images]
    return torch.from_numpy(np.stack([np.asarray(i) for i in done])).permute(0, 3, 1, 2)


def _difference(a: Tensor, b: Tensor) -> Tensor:
    return (a.int() - b.int()).abs().float()


# --- the text form ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [VIDEOMAE, "rand-inc1", "rand-n3-m9-inc1", "rand-m5-p0.25-inc1", "rand-m9-mstd101-inc1", "rand-m0-mstd1-inc1"],
)
def test_the_text_form_means_what_timm_makes_of_it(spec: str) -> None:
    ours, theirs = RandAugment(spec), auto_augment.rand_augment_transform(spec, {})
    assert ours.num_ops == theirs.num_layers and theirs.choice_weights is None
    for op in theirs.ops:
        assert (ours.magnitude, ours.probability) == (op.magnitude, op.prob)
        uniform = ours.deviation > 100
        assert op.magnitude_std == (math.inf if uniform else ours.deviation)
    assert list(OPERATIONS) == [op.name for op in theirs.ops]
    assert RandAugment(spec).fill == GREY == auto_augment._FILL


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("rand-m7-x4-inc1", "'x4'"),
        ("rand-m7-n-inc1", "'n'"),
        ("rand-m-7-inc1", "'m'"),
        ("rand-m7.5-inc1", "'m7.5'"),
        ("rand-m7-m8-inc1", "'m8'"),
        ("rand-m7-mmax20-inc1", "'mmax20'"),
        ("rand-m7-t3a-inc1", "'t3a'"),
        ("rand-m7--inc1", "''"),
        ("augmix-m7-inc1", "augmix-m7-inc1"),
        ("", "''"),
        ("rand-m7-n4", "inc1"),
        ("rand-m7-inc0", "inc1"),
        ("rand-m11-inc1", "m 0-10"),
        ("rand-p1.5-inc1", "p 0-1"),
    ],
)
def test_other_text_is_refused_by_name(spec: str, named: str) -> None:
    with pytest.raises(ConfigError) as error:
        RandAugment(spec)
    assert named in str(error.value) and VIDEOMAE in str(error.value)


# --- draws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 0.04, 0.26, 0.5, 0.7, 0.73, 1.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_arguments_equal_timm_at_every_level(level: float, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_augment.random, "random", lambda: 0.75 if sign < 0 else 0.25)
    for name, operation in OPERATIONS.items():
        to_argument = auto_augment.LEVEL_TO_ARG[name]
        if to_argument is not None:
            (expected,) = to_argument(level * 10, {})
            assert operation.argument(level, sign) == pytest.approx(expected, abs=1e-12), name


def test_draws_have_the_stated_distribution() -> None:
    rng, augment = random.Random(0), RandAugment(VIDEOMAE)
    clips = [augment.draw(rng) for _ in range(6000)]
    lengths = Counter(len(draws) for draws in clips)  # binomial: 4 operations, each kept with probability one half
    for kept in range(5):
        expected = 6000 * math.comb(4, kept) / 16
        assert abs(lengths[kept] - expected) < 5 * math.sqrt(expected)
    names = Counter(draw.name for draws in clips for draw in draws)
    assert set(names) == set(OPERATIONS) and all(abs(n - 800) < 5 * math.sqrt(800) for n in names.values()), names
    pairs = [draws for draws in clips if len(draws) == 2]  # with replacement: one pair in 15 is twice the same
    assert abs(sum(a.name == b.name for a, b in pairs) - len(pairs) / 15) < 5 * math.sqrt(len(pairs) / 15)
    degrees = np.array([draw.argument for draws in clips for draw in draws if draw.name == "Rotate"])
    assert abs(np.abs(degrees).mean() - 21) < 0.3 and abs(np.abs(degrees).std() - 1.5) < 0.2  # mstd 0.5 is 1.5 degrees
    assert abs((degrees > 0).mean() - 0.5) < 0.1


def test_magnitude_without_noise_uniform_and_cut_at_ten() -> None:
    def degrees(spec: str) -> np.ndarray:
        rng, augment = random.Random(0), RandAugment(spec)
        draws = [draw for _ in range(4000) for draw in augment.draw(rng)]
        return np.abs([draw.argument for draw in draws if draw.name == "Rotate"])

    assert np.allclose(degrees("rand-m7-p1-inc1"), 21)
    uniform = degrees("rand-m8-mstd101-p1-inc1")
    assert uniform.max() <= 24 and abs(uniform.mean() - 12) < 1.5 and abs(uniform.std() - 24 / math.sqrt(12)) < 1
    noisy = degrees("rand-m9-mstd3-p1-inc1")
    assert noisy.max() == 30 and (noisy == 30).mean() > 0.25
    assert RandAugment("rand-n3-p0-inc1").draw(random.Random(0)) == []


# --- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OPERATIONS))
@pytest.mark.parametrize("level", [0.04, 0.5, 0.7, 1.0])
def test_every_operation_equals_timm_frame_by_frame(name: str, level: float) -> None:
    # Geometric operations: the same kernel in single instead of double precision, cut off to whole grey levels, so that
    # a sum next to a whole number may land one level apart. Everything else is the same arithmetic, bit for bit.
    frames = _frames()
    for sign in (-1, 1):
        argument = OPERATIONS[name].argument(level, sign)
        ours = OPERATIONS[name].apply(frames, argument, GREY)
        assert ours.dtype == torch.uint8 and ours.shape == frames.shape
        difference = _difference(ours, _timm(frames, name, argument))
        if name in GEOMETRIC:
            assert difference.max() <= 1 and difference.mean() < 0.005
        else:
            assert difference.max() == 0


@pytest.mark.parametrize("name", sorted(GEOMETRIC))
def test_outside_of_the_frame_is_the_fill_colour(name: str) -> None:
    fill = (124, 116, 104)
    frames, argument = _frames(), OPERATIONS[name].argument(0.7, 1)
    ours = OPERATIONS[name].apply(frames, argument, fill)
    assert _difference(ours, _timm(frames, name, argument, fill)).max() <= 1
    white = OPERATIONS[name].apply(torch.full_like(frames, 255), argument, fill)
    filled = (white == torch.tensor(fill).view(3, 1, 1)).all(dim=1)
    assert 0.01 < filled.float().mean() < 0.5 and (white.amin(dim=1)[~filled] == 255).all()


@pytest.mark.parametrize("value", [0, 77, 255])
def test_operations_on_a_flat_clip(value: int) -> None:
    frames = torch.full((2, 3, 30, 40), value, dtype=torch.uint8)
    for name, operation in OPERATIONS.items():
        for level in (0.0, 0.7, 1.0):
            argument = operation.argument(level, 1)
            assert torch.equal(operation.apply(frames, argument, GREY), _timm(frames, name, argument)), (name, level)


def test_operations_equal_timm_on_a_real_video(clips_dir: Path) -> None:
    with av.open(str(clips_dir / "v_SoccerJuggling_g23_c01.avi")) as container:
        decoded = [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(2), container.decode(video=0), strict=False)
        ]
    frames = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous()
    for name, operation in OPERATIONS.items():
        argument = operation.argument(0.7, -1)
        difference = _difference(operation.apply(frames, argument, GREY), _timm(frames, name, argument))
        assert difference.max() <= (1 if name in GEOMETRIC else 0) and difference.mean() < 0.005, name


def test_whole_chains_equal_timm() -> None:
    # A level lost in a geometric operation can be stretched by the next ones (a solarised pixel flips over), so that
    # only the mean says something (0.06 at most here); chains without one are exact.
    frames, augment = _frames(), RandAugment("rand-m7-n4-mstd0.5-p1-inc1")
    for seed in range(25):
        expected = frames
        draws = augment.draw(random.Random(int(torch.randint(2**62, (), generator=_generator(seed)))))
        assert len(draws) == 4
        for name, argument in draws:
            expected = _timm(expected, name, argument)
        difference = _difference(augment(frames, _generator(seed)), expected)
        assert difference.mean() < 0.15, (draws, difference.mean())
        if not {name for name, _ in draws} & GEOMETRIC:
            assert difference.max() == 0


def test_all_frames_get_the_same_draw_from_the_generator_alone() -> None:
    frames, augment = _frames(1).expand(4, -1, -1, -1), RandAugment("rand-m7-n4-mstd0.5-p1-inc1")
    kept, states = frames.clone(), (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index,union-attr]
    results = [augment(frames, _generator(seed)) for seed in (1, 1, 2, 3)]
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]  # type: ignore[index,union-attr]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(frames, kept)
    assert all((result == result[:1]).all() for result in results)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2]) and not torch.equal(results[2], results[3])


def test_channels_last_frames_give_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _frames()
    as_decoded = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    augment = RandAugment(VIDEOMAE)
    for name, operation in OPERATIONS.items():
        draws = [Draw(name, operation.argument(0.7, 1))]
        monkeypatch.setattr(augment, "draw", lambda rng, draws=draws: draws)
        assert torch.equal(augment(as_decoded, _generator()), augment(frames, _generator())), name
