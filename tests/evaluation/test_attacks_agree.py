"""FGSM and PGD beside those of foolbox and torchattacks, of the same model, clips, start, steps and budget.

tests/golden/attacks.py says how the golden clips were made, and with which versions.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.evaluation.attacks import Attack, _Ball, attacked

GOLDEN = Path(__file__).parents[1] / "golden" / "attacks.npz"
BUDGETS = {"linf": 8.0, "l2": 6.0}
STEPS = 20


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


class Attacked:
    """The clips that an attack looks at, in order, and the one it returns."""

    def __init__(self, golden: dict[str, Tensor], norm: str, method: str):
        self.golden, self.seen = golden, []
        attack = Attack(norm, BUDGETS[norm], method, STEPS)  # type: ignore[arg-type]
        self.found, _ = attacked(self._losses, golden["clips"], attack, torch.Generator())

    def _losses(self, clips_BCTHW: Tensor) -> Tensor:
        self.seen.append(clips_BCTHW.detach().clone())
        found = F.conv3d((clips_BCTHW - 128) / 64, self.golden["conv"]).tanh()
        return F.cross_entropy(found.flatten(1) @ self.golden["linear"].T, self.golden["labels"], reduction="none")


def begin_at(monkeypatch: pytest.MonkeyPatch, start: Tensor) -> None:
    monkeypatch.setattr(_Ball, "random_start", lambda self, generator: self.project(start))


def without_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries' clips are no whole levels."""
    monkeypatch.setattr(_Ball, "real", lambda self, change: self.clean + self.project(change))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("library", ["foolbox", "torchattacks"])
def test_pgd_takes_the_libraries_steps(
    golden: dict[str, Tensor], library: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = golden[f"start_{norm}"]
    begin_at(monkeypatch, start if library == "foolbox" else torch.zeros_like(start))
    without_rounding(monkeypatch)
    ours = Attacked(golden, norm, "pgd")
    last, theirs = ours.seen[-1], golden[f"{library}_pgd_{norm}"]
    assert len(ours.seen) == 1 + STEPS + 1  # the clean clips, each step, and what the last one led to
    assert ours.found.dtype == torch.float32 and (last - golden["clips"]).abs().max() > 3
    # float32: the last bit of a level is 1.5e-5, and it adds up over the steps (6e-5 when this was made). Under L-inf another
    # processor may give a gradient that is all but zero the other sign, and its value goes another way: one of a thousand may.
    far = (last - theirs).abs() > 1e-3
    assert far.float().mean() <= (1e-3 if norm == "linf" else 0)


def test_pgd_in_whole_levels_is_the_one_of_foolbox(golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of one level from a start of whole ones: there is nothing to round, and clips are as they are handed over."""
    begin_at(monkeypatch, golden["start_linf"])
    ours = Attacked(golden, "linf", "pgd")
    assert (ours.seen[-1] == golden["foolbox_pgd_linf"]).float().mean() >= 0.999
    assert ours.found.dtype == torch.uint8


@pytest.mark.parametrize("library", ["foolbox", "torchattacks"])
def test_fgsm_is_the_libraries(golden: dict[str, Tensor], library: str) -> None:
    ours = Attacked(golden, "linf", "fgsm").found.float()
    assert ((ours - golden[f"{library}_fgsm_linf"]).abs() < 1e-3).float().mean() >= 0.999


def test_fgsm_l2_is_foolbox_rounded(golden: dict[str, Tensor]) -> None:
    """All but values that lie half way between two levels, and where a change that rounding made too long is shortened."""
    ours, theirs = Attacked(golden, "l2", "fgsm").found.float(), golden["foolbox_fgsm_l2"]
    assert (ours - theirs).abs().max() <= 1 and (ours == theirs.round()).float().mean() > 0.99


def test_rounding_takes_pgd_l2_no_further_away(golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """The clips that are handed over do to the loss what foolbox's do, which are no whole levels."""
    begin_at(monkeypatch, golden["start_l2"])
    ours = Attacked(golden, "l2", "pgd")
    with torch.no_grad():
        clean_B, found_B, theirs_B = map(
            ours._losses, (golden["clips"].float(), ours.found.float(), golden["foolbox_pgd_l2"])
        )
    assert ((found_B - clean_B) / (theirs_B - clean_B)).sub(1).abs().max() < 0.02
