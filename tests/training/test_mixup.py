"""Mixup and CutMix against timm with the same draws, their distributions, and what must stay untouched."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup

from videoadapt.errors import ConfigError
from videoadapt.training.mixup import Mixup

CLASSES = 7


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(size: int, height: int = 32, width: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    clips = torch.randn(size, 3, 4, height, width, generator=_generator(1))
    return clips, torch.arange(size) % CLASSES


def _mixup(mixup_alpha: float, cutmix_alpha: float, smoothing: float = 0.1, switch_prob: float = 0.5) -> Mixup:
    return Mixup(
        mixup_alpha=mixup_alpha,
        cutmix_alpha=cutmix_alpha,
        switch_prob=switch_prob,
        label_smoothing=smoothing,
        num_classes=CLASSES,
    )


class _SameDraws:
    """Stands for timm's `np.random`: hands out what our generator of that seed draws, in timm's order."""

    def __init__(self, seed: int):
        self._rng = random.Random(int(torch.randint(2**62, (), generator=_generator(seed))))
        self._first = True

    def rand(self) -> float:
        if self._first:  # whether to mix at all, which happens always
            self._first = False
            return 0.0
        return self._rng.random()

    def beta(self, a: float, b: float) -> float:
        return self._rng.betavariate(a, b)

    def randint(self, low: int, high: int, size: None) -> int:
        assert low == 0 and size is None
        return self._rng.randrange(high)


class _Numpy:
    def __init__(self, seed: int):
        self.random = _SameDraws(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@pytest.mark.parametrize(("mixup_alpha", "cutmix_alpha"), [(0.8, 1.0), (0.8, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_timm_with_the_same_draws(
    mixup_alpha: float, cutmix_alpha: float, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, labels = _batch(6)
    reference = timm_mixup.Mixup(mixup_alpha, cutmix_alpha, label_smoothing=smoothing, num_classes=CLASSES)
    for seed in range(12):
        ours, our_targets = _mixup(mixup_alpha, cutmix_alpha, smoothing)(clips, labels, _generator(seed))
        monkeypatch.setattr(timm_mixup, "np", _Numpy(seed))
        images, targets = reference(clips.clone().flatten(1, 2), labels)  # frames as channels: timm knows images
        torch.testing.assert_close(ours, images.view_as(clips), rtol=0, atol=1e-6)
        torch.testing.assert_close(our_targets, targets, rtol=0, atol=1e-6)


def test_videomaes_box_cuts_frames_and_rows() -> None:
    """Its box reaches half a side, rounded down, both ways; its rows are taken as frames, and the share is that of a frame."""
    clips, labels = _batch(6, 33, 41)
    cutmix = Mixup(mixup_alpha=0, cutmix_alpha=1.0, label_smoothing=0, num_classes=CLASSES, cutmix_box="videomae")
    changed = 0
    for seed in range(60):
        mixed, targets = cutmix(clips, labels, _generator(seed))
        draws = _SameDraws(seed)
        ratio, spans = np.sqrt(1 - draws.beta(1, 1)), []
        for side in (33, 41):
            half, centre = int(side * ratio) // 2, draws.randint(0, side, None)
            spans.append(range(max(centre - half, 0), min(centre + half, side)))
        expected = clips.clone()
        for frame in range(4):
            for row in range(33):
                if frame in spans[0] and row in spans[1]:
                    expected[:, :, frame, row] = clips.flip(0)[:, :, frame, row]
        assert mixed.equal(expected)
        changed += not mixed.equal(clips)
        share = 1 - len(spans[0]) * len(spans[1]) / (33 * 41)
        torch.testing.assert_close(targets[0, :6], torch.tensor([share, 0, 0, 0, 0, 1 - share]))
    assert 10 < changed < 50


def test_cutmix_pastes_one_box_into_all_frames() -> None:
    clips, labels = _batch(4, 20, 30)
    kept = set()
    for seed in range(40):
        mixed, targets = _mixup(0, 1.0, smoothing=0.0)(clips, labels, _generator(seed))
        pasted = mixed != clips
        assert torch.equal(mixed[pasted], clips.flip(0)[pasted])
        assert (pasted == pasted[:1, :1, :1]).all()
        box = pasted[0, 0, 0]
        rows, columns = int(box.any(1).sum()), int(box.any(0).sum())
        assert int(box.sum()) == rows * columns
        share = 1 - rows * columns / 600
        assert abs(targets[0, 0].item() - share) < 1e-6 and abs(targets[0, 3].item() - (1 - share)) < 1e-6
        kept.add(round(share, 3))
    assert len(kept) > 20


def test_shares_follow_beta_and_the_switch_its_probability() -> None:
    clips, labels = torch.rand(2, 1, 1, 3, 3, generator=_generator()), torch.tensor([0, 1])
    generator = _generator()
    lams = [float(_mixup(0.8, 0, 0.0)(clips, labels, generator)[1][0, 0]) for _ in range(4000)]
    assert abs(np.mean(lams) - 0.5) < 0.025
    assert abs(np.var(lams) - 0.25 / 2.6) < 0.005  # variance of Beta(a, a) is 1 / (4 (2 a + 1))
    cut = 0
    for _ in range(2000):
        mixed, _ = _mixup(0.8, 1.0, 0.0, switch_prob=0.3)(clips, labels, generator)
        cut += bool(((mixed == clips) | (mixed == clips.flip(0))).all())
    assert abs(cut - 600) < 5 * np.sqrt(2000 * 0.21)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_targets_sum_to_one_and_an_odd_middle_keeps_its_label(size: int) -> None:
    clips, labels = _batch(size)
    for seed in range(6):
        mixed, targets = _mixup(0.8, 1.0)(clips, labels, _generator(seed))
        assert mixed.shape == clips.shape and targets.shape == (size, CLASSES) and targets.dtype == torch.float32
        torch.testing.assert_close(targets.sum(1), torch.ones(size))
        if size % 2:
            middle = size // 2
            torch.testing.assert_close(mixed[middle], clips[middle])
            assert targets[middle].argmax() == labels[middle] and targets[middle].max() > 0.9


def test_with_both_off_only_the_labels_are_smoothed() -> None:
    clips, labels = _batch(3)
    generator = _generator()
    state = generator.get_state()
    out, targets = _mixup(0, 0, smoothing=0.14)(clips, labels, generator)
    assert out is clips and torch.equal(generator.get_state(), state)
    expected = torch.full((3, CLASSES), 0.02)
    expected[range(3), labels] = 0.88
    torch.testing.assert_close(targets, expected)
    loss = torch.nn.functional.cross_entropy
    logits = torch.randn(3, CLASSES, generator=_generator())
    torch.testing.assert_close(loss(logits, targets), loss(logits, labels, label_smoothing=0.14))


def test_draws_come_from_the_generator_alone() -> None:
    clips, labels = _batch(4)
    kept = clips.clone()
    states = random.getstate(), torch.get_rng_state()
    first = _mixup(0.8, 1.0)(clips, labels, _generator(3))
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])
    again, other = _mixup(0.8, 1.0)(clips, labels, _generator(3)), _mixup(0.8, 1.0)(clips, labels, _generator(4))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert torch.equal(clips, kept)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError) as error:
        Mixup(mixup_alpha=-1, cutmix_alpha=-0.5, switch_prob=2, label_smoothing=1, num_classes=0)
    assert [p.split(":")[0] for p in error.value.problems] == [
        "mixup_alpha",
        "cutmix_alpha",
        "switch_prob",
        "label_smoothing",
        "num_classes",
    ]
    clips, labels = _batch(2)
    with pytest.raises(ValueError, match="uint8"):
        _mixup(0.8, 1.0)(clips.byte(), labels, _generator())
