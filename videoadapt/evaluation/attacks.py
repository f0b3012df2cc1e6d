"""Adversarial clips: the change within a budget that makes a model's loss large, as a real clip of whole grey levels.

FGSM is one step along the loss's gradient (Goodfellow et al. 2015, arXiv 1412.6572, section 4), PGD several of them from a
random start, each brought back into the budget (Madry et al. 2018, arXiv 1706.06083, section 2.1). What is attacked is the clip
that the model gets: uint8, after decoding, resizing and cutting, before it is normalised; no file and no codec stands between.

How the gradient passes the rounding: each step looks at the clip as it would be handed over, rounded, and what it finds there
is the gradient of the change before it was rounded (straight through). A change that is too small to round to anything is kept
and grows from step to step.

Shapes: B clips, C channels, T frames, H W pixels. Grey levels run from 0 to 255.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

from videoadapt.errors import ConfigError

Norm = Literal["linf", "l2"]
Method = Literal["pgd", "fgsm"]
Losses = Callable[[Tensor], Tensor]  # grey levels, float32 (B, C, T, H, W) -> the loss of each clip (B,)

_HALVINGS = 16  # of the interval in which the largest factor lies that keeps a rounded change in its budget


@dataclass(frozen=True)
class Attack:
    """What may be changed, and how it is looked for.

    `budget` in grey levels: with "linf" the most that any value of a clip may change by, of which the whole levels count; with
    "l2" the root of the mean square over all values of the frames that may change: the Euclidean norm is at most `budget` times
    the root of their number. A change of so many levels everywhere has the same size in both. `frames`: None, all; else so many
    of each clip, those at which the gradient on the clean clip is largest. `steps` are PGD's, each 2.5 budget / steps long.
    """

    norm: Norm = "linf"
    budget: float = 4.0
    method: Method = "pgd"
    steps: int = 10
    frames: int | None = None

    def __post_init__(self) -> None:
        levels, enough = "more than 0, at most 255 grey levels", 0 < self.budget <= 255
        if self.norm == "linf":  # less would round to nothing, and every model would seem robust
            levels, enough = "1 to 255 grey levels, of which 4 are what papers call 4/255", 1 <= self.budget <= 255
        problems = [
            f"{name} = {value!r}: allowed: {allowed}"
            for name, value, allowed, right in (
                ("norm", self.norm, "linf, l2", self.norm in ("linf", "l2")),
                ("budget", self.budget, levels, enough),
                ("method", self.method, "pgd, fgsm", self.method in ("pgd", "fgsm")),
                ("steps", self.steps, "1 or more", self.steps >= 1),
                ("frames", self.frames, "1 or more, or all", self.frames is None or self.frames >= 1),
            )
            if not right
        ]
        if problems:
            raise ConfigError(problems)


def attacked(losses: Losses, clips_BCTHW: Tensor, attack: Attack, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return uint8 clips within the budget of the uint8 `clips_BCTHW` that raise `losses`, and random ones of the same size.

    The second are the control: as far away, in the same frames, by chance ("linf": every value up or down by the whole budget;
    "l2": a normally distributed direction). Of PGD's clips the one with the highest loss is returned, the clean one among
    them, for each clip by itself. What is random comes from `generator`. `losses` is differentiated by its
    input only. Raises ConfigError where a clip has fewer frames than are to be changed, and for an L2
    budget of which nothing is left in whole levels.
    """
    num_frames = clips_BCTHW.shape[2]
    if attack.frames is not None and attack.frames > num_frames:
        raise ConfigError(f"frames = {attack.frames}: allowed: 1 to {num_frames}, the frames of a clip, or all")
    found_B, gradient = _gradient(losses, clips_BCTHW.float())
    ball = _Ball(clips_BCTHW, attack, _largest(gradient, attack))
    control = ball.real(ball.random_edge(generator))
    if attack.method == "fgsm":
        return ball.real(ball.step(gradient, attack.budget)), control
    best, highest_B = clips_BCTHW, found_B
    change = ball.random_start(generator)
    for left in reversed(range(attack.steps + 1)):
        real = ball.real(change)
        if left:
            found_B, gradient = _gradient(losses, real.float())
            change = ball.project(change + ball.step(gradient, 2.5 * attack.budget / attack.steps))
        else:
            with torch.no_grad():
                found_B = losses(real.float())
        higher_B = found_B > highest_B
        best = torch.where(_per_clip(higher_B), real, best)
        highest_B = torch.where(higher_B, found_B, highest_B)
    return best, control


class _Ball:
    """All changes of some clips within the budget: what lies in it, and what of it is a clip."""

    def __init__(self, clips_BCTHW: Tensor, attack: Attack, kept_BT: Tensor):
        self.clean, self.norm, self.budget = clips_BCTHW.float(), attack.norm, attack.budget
        self.kept = kept_BT[:, None, :, None, None].float()
        channels, _, *sides = clips_BCTHW.shape[1:]
        num_values = int(kept_BT[0].sum()) * channels * sides[0] * sides[1]
        self.per_level = num_values**0.5  # the Euclidean norm of one level everywhere
        if self.norm == "l2" and self.budget < (least := _least_levels(num_values)):
            raise ConfigError(
                f"budget = {self.budget}: such a change rounds to nothing in whole grey levels, so that every model would seem "
                f"robust; allowed: {math.ceil(1000 * least) / 1000:g} or more, of the {num_values:,} values that may change"
            )

    def project(self, change: Tensor) -> Tensor:
        """Return the nearest change within the budget, and then the part of it that leaves grey levels within 0 to 255.

        Clean levels are within them, so cutting moves every value towards no change: both hold afterwards.
        """
        if self.norm == "linf":
            change = change.clamp(-self.budget, self.budget)
        else:
            radius = self.budget * self.per_level
            change = change * (radius / _norms(change).clamp_min(1e-12)).clamp_max(1.0)
        return (self.clean + change).clamp(0, 255) - self.clean

    def step(self, gradient: Tensor, levels: float) -> Tensor:
        """Return the change of size `levels` along which a linear loss rises most, in the frames that may change."""
        gradient = gradient * self.kept
        if self.norm == "linf":
            return levels * gradient.sign()
        largest = gradient.abs().flatten(1).amax(dim=1)  # squares of tiny gradients would be zero
        unit = gradient / _per_clip(largest).clamp_min(torch.finfo(torch.float32).tiny)
        return levels * self.per_level * unit / _norms(unit).clamp_min(1e-12)

    def real(self, change: Tensor) -> Tensor:
        """Return clips, uint8: the changed ones rounded, within the budget after the rounding too.

        With "linf" the budget's whole levels are what is left of it. With "l2" the change is made smaller, where rounding has
        made it too large, by the largest factor that suffices: no rounded value shrinks when the factor grows.
        """
        change = self.project(change)
        if self.norm == "linf":
            whole = change.round().clamp(-(self.budget // 1), self.budget // 1)
        else:
            fits_B = torch.zeros(len(change), device=change.device)
            over_B = torch.ones_like(fits_B)
            whole = change.round()
            if bool((_norms(whole) > self.budget * self.per_level).any()):
                for _ in range(_HALVINGS):
                    middle_B = (fits_B + over_B) / 2
                    inside_B = self._fits((change * _per_clip(middle_B)).round())
                    fits_B, over_B = torch.where(inside_B, middle_B, fits_B), torch.where(inside_B, over_B, middle_B)
                whole = torch.where(_per_clip(self._fits(whole)), whole, (change * _per_clip(fits_B)).round())
        return (self.clean + whole).clamp(0, 255).to(torch.uint8)

    def _fits(self, whole: Tensor) -> Tensor:
        return _norms(whole).flatten() <= self.budget * self.per_level

    def random_start(self, generator: torch.Generator) -> Tensor:
        """Return a change drawn uniformly from the ball."""
        if self.norm == "linf":
            drawn = _drawn(torch.rand, self.clean, generator)
            return self.project((2 * drawn - 1) * self.budget * self.kept)
        # in a ball of d dimensions the d-th root of a uniform number is uniform by volume: with thousands, on the edge
        share_B = _drawn(torch.rand, self.clean[:, 0, 0, 0, 0], generator).pow(self.per_level**-2)
        return self.project(self.random_edge(generator) * _per_clip(share_B))

    def random_edge(self, generator: torch.Generator) -> Tensor:
        """Return a random change of the whole budget."""
        return self.step(_drawn(torch.randn, self.clean, generator), self.budget)


def _least_levels(num_values: int) -> float:
    """Of normally distributed changes with this deviation one of so many values rounds to a whole level."""
    return 0.5 / NormalDist().inv_cdf(1 - 0.5 / num_values)


def _gradient(losses: Losses, clips: Tensor) -> tuple[Tensor, Tensor]:
    clips = clips.detach().requires_grad_()
    with torch.enable_grad():
        found_B = losses(clips)
        (gradient,) = torch.autograd.grad(found_B.sum(), clips)
    return found_B.detach(), gradient


def _largest(gradient: Tensor, attack: Attack) -> Tensor:
    """Which frames may change, bool (B, T): those along which a linear loss rises most."""
    order = 1 if attack.norm == "linf" else 2  # the dual norm
    size_BT = torch.linalg.vector_norm(gradient.transpose(1, 2).flatten(2), order, dim=2)
    chosen_BF = size_BT.topk(attack.frames or size_BT.shape[1], dim=1).indices
    return torch.zeros_like(size_BT, dtype=torch.bool).scatter_(1, chosen_BF, True)


def _drawn(draw: Callable[..., Tensor], like: Tensor, generator: torch.Generator) -> Tensor:
    return draw(like.shape, generator=generator, device=generator.device).to(like.device)


def _norms(change: Tensor) -> Tensor:
    return _per_clip(torch.linalg.vector_norm(change.flatten(1), dim=1))


def _per_clip(values_B: Tensor) -> Tensor:
    return values_B[:, None, None, None, None]
