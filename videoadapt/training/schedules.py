"""The learning rate as a pure function of the step: a warm-up, and then the ways down from it."""

import math
from abc import abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Warmup:
    """The learning rate of each update: a linear warm-up from `start` to `peak`, then the `share` that a subclass leaves of it.

    With the fractional epoch e = step / steps_per_epoch and w = warmup_epochs, it is start + (peak - start) e / w while e < w,
    and minimum + (peak - minimum) share(e) from then on: the per-step schedule of the code of MAE and AdaptFormer
    (`util/lr_sched.py`). In VideoMAE's (`utils.cosine_scheduler`) the last update of the warm-up has the full rate already
    (`peak_within`): of its W updates number k has start + (peak - start) k / (W - 1).
    """

    peak: float
    epochs: int
    steps_per_epoch: int
    warmup_epochs: float = 0.0
    start: float = 0.0
    minimum: float = 0.0
    peak_within: bool = False

    def __call__(self, step: int) -> float:
        """Return the learning rate of update `step`, counted from 0."""
        epoch = step / self.steps_per_epoch
        if epoch < self.warmup_epochs:
            if self.peak_within:
                updates = math.ceil(round(self.warmup_epochs * self.steps_per_epoch, 6))  # 0.07 times 100 is above 7
                last = max(updates - 1, 1)
                return self.start + (self.peak - self.start) * step / last
            return self.start + (self.peak - self.start) * epoch / self.warmup_epochs
        return self.minimum + (self.peak - self.minimum) * self.share(epoch)

    @abstractmethod
    def share(self, epoch: float) -> float:
        """Return how much of the way from `minimum` to `peak` is left at a fractional epoch after the warm-up."""

    def progress(self, epoch: float) -> float:
        """Return the share of the training after the warm-up that lies behind a fractional epoch, at most 1."""
        return min((epoch - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-9), 1.0)


class WarmupCosine(Warmup):
    """Half a cosine: with p of the training after the warm-up done, (1 + cos(pi p)) / 2 is left."""

    def share(self, epoch: float) -> float:
        """See `Warmup`."""
        return 0.5 * (1 + math.cos(math.pi * self.progress(epoch)))


class WarmupConstant(Warmup):
    """The peak to the end."""

    def share(self, epoch: float) -> float:
        """See `Warmup`."""
        return 1.0


@dataclass(frozen=True)
class WarmupStep(Warmup):
    """`factor` times the rate from each of `milestones_epochs` on, which count from step 0 (torch: MultiStepLR)."""

    milestones_epochs: tuple[float, ...] = ()
    factor: float = 0.1

    def share(self, epoch: float) -> float:
        """See `Warmup`."""
        return self.factor ** sum(epoch >= milestone for milestone in self.milestones_epochs)


@dataclass(frozen=True)
class WarmupPolynomial(Warmup):
    """With p of the training after the warm-up done, (1 - p)^power is left (torch: PolynomialLR)."""

    power: float = 1.0

    def share(self, epoch: float) -> float:
        """See `Warmup`."""
        return (1 - self.progress(epoch)) ** self.power


@dataclass(frozen=True)
class OneCycle:
    """Half a cosine up from `start` to `peak` during a share of all updates, `rise`, and half a cosine down to `minimum`.

    As torch's OneCycleLR has it, of N updates the peak is number rise N - 1, counted from 0, and the minimum the last one.
    Momentum is not cycled. There is no warm-up: the rise takes its place.
    """

    peak: float
    epochs: int
    steps_per_epoch: int
    start: float = 0.0
    minimum: float = 0.0
    rise: float = 0.3

    def __call__(self, step: int) -> float:
        """Return the learning rate of update `step`, counted from 0."""
        last = self.epochs * self.steps_per_epoch - 1
        top = max(self.rise * (last + 1) - 1, 0.0)
        if step < top:
            return _half_cosine(self.start, self.peak, step / top)
        return _half_cosine(self.peak, self.minimum, min((step - top) / max(last - top, 1e-9), 1.0))


def _half_cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * progress))
