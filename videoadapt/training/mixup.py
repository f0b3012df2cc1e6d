"""Mixup and CutMix of a batch of clips with itself in reverse order, and label smoothing.

Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018); Yun et al., "CutMix" (2019); in timm's batch mode: one
draw for the whole batch. Shapes: B clips, C channels, T frames, H W pixels, K classes.
"""

import math
import random
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.errors import ConfigError


class Mixup:
    """Mix every clip and its target with those at the mirrored place in the batch."""

    def __init__(
        self,
        *,
        mixup_alpha: float,
        cutmix_alpha: float,
        switch_prob: float = 0.5,
        label_smoothing: float,
        num_classes: int,
        cutmix_box: Literal["whole", "videomae"] = "whole",
    ):
        """An alpha of 0 turns that kind off; with both on, `switch_prob` is the probability of CutMix in a batch.

        With both off the clips stay as they are and only the labels are smoothed. `cutmix_box` "whole" is a box of rows and
        columns, in every frame. "videomae" is what VideoMAE's fine-tuning computes: its copy of timm was written for images,
        so that the box's rows are taken as frames and its columns as rows, while the labels are mixed by the box's share of a
        frame; most batches keep their pixels so. Raises ConfigError naming every wrong value.
        """
        problems = [
            f"{key}: {value} is not allowed; use 0 (off) or more"
            for key, value in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha))
            if not value >= 0
        ]
        if not 0 <= switch_prob <= 1:
            problems.append(f"switch_prob: {switch_prob} is not allowed; use a probability from 0 to 1")
        if not 0 <= label_smoothing < 1:
            problems.append(f"label_smoothing: {label_smoothing} is not allowed; use 0 or more and less than 1")
        if num_classes < 1:
            problems.append(f"num_classes: {num_classes} is not allowed; use 1 or more")
        if problems:
            raise ConfigError(problems)
        self.mixup_alpha, self.cutmix_alpha, self.switch_prob = mixup_alpha, cutmix_alpha, switch_prob
        self.label_smoothing, self.num_classes, self.cutmix_box = label_smoothing, num_classes, cutmix_box

    def __call__(self, clips_BCTHW: Tensor, labels_B: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return mixed clips (B, C, T, H, W) and float32 targets (B, K); the given clips are not changed.

        `labels_B` are numbers of classes (B,), or of clips with several labels 0 and 1 for each class (B, K): mixed they are
        shares of a class, and smoothed each is moved towards 1/2, as far as one label a clip towards 1/K.

        `clips_BCTHW` is floating point, on any device; everything random comes from `generator`. The middle clip of an
        odd batch is mixed with itself. Raises ValueError for uint8 clips.
        """
        if not clips_BCTHW.is_floating_point():
            raise ValueError(f"mixup needs normalised floating-point clips, got {clips_BCTHW.dtype}")
        targets_BK = self._smooth(labels_B)
        if not self.mixup_alpha and not self.cutmix_alpha:
            return clips_BCTHW, targets_BK
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        rng = random.Random(int(seed))
        cut = rng.random() < self.switch_prob if self.mixup_alpha and self.cutmix_alpha else bool(self.cutmix_alpha)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        lam = rng.betavariate(alpha, alpha)
        if cut:
            clips_BCTHW, lam = _cutmix(clips_BCTHW, lam, rng, self.cutmix_box)
        else:
            clips_BCTHW = clips_BCTHW.flip(0).mul_(1 - lam).add_(clips_BCTHW, alpha=lam)
        return clips_BCTHW, targets_BK * lam + targets_BK.flip(0) * (1 - lam)

    def _smooth(self, labels_B: Tensor) -> Tensor:
        if labels_B.ndim == 2:
            return labels_B.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        off = self.label_smoothing / self.num_classes
        return F.one_hot(labels_B.long(), self.num_classes).float().mul_(1 - self.label_smoothing).add_(off)


def _cutmix(clips_BCTHW: Tensor, lam: float, rng: random.Random, kind: str) -> tuple[Tensor, float]:
    """Paste one box of the mirrored clip; return the clips and the share of a frame's pixels that lies outside the box."""
    height, width = clips_BCTHW.shape[-2:]
    share, even = math.sqrt(1 - lam), kind == "videomae"
    (top, bottom), (left, right) = _span(height, share, rng, even), _span(width, share, rng, even)
    rows, columns = slice(top, bottom), slice(left, right)
    # The third and fourth of an image batch's four dimensions are rows and columns, those of a clip batch frames and rows.
    box = (slice(None), slice(None), rows, columns) if kind == "videomae" else (..., rows, columns)
    mixed = clips_BCTHW.clone()
    mixed[box] = clips_BCTHW[box].flip(0)
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _span(size: int, share: float, rng: random.Random, even: bool) -> tuple[int, int]:
    """Where a box begins and ends on a side. `even`: it reaches half its length, rounded down, both ways, as in older timm."""
    length, centre = int(size * share), rng.randrange(size)
    length -= length % 2 if even else 0
    return max(centre - length // 2, 0), min(centre + (length + 1) // 2, size)
