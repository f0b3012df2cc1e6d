"""Attacks against what is known of them: closed forms, projections, budgets after rounding, and each beside a weaker one."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.toy_models import build, shake
from videoadapt.errors import ConfigError
from videoadapt.evaluation.adversarial import label_losses
from videoadapt.evaluation.attacks import Attack, Losses, _Ball, attacked
from videoadapt.runs.forward import forward

CPU = torch.device("cpu")
BUDGETS = [1.0, 2.5, 8.0, 200.0]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(count: int = 3) -> Tensor:
    """With black and white ones among the grey levels."""
    drawn = torch.randint(-60, 316, (count, 3, 4, 16, 16), generator=seeded())
    return drawn.clamp(0, 255).to(torch.uint8)


def linear_softmax() -> tuple[Tensor, Losses]:
    """Two classes whose logits are linear in the grey levels, the first of them right: the weights (2, ...), the losses."""
    weights = torch.randn(2, 3, 4, 16, 16, generator=seeded(1)) / 1000

    def losses(clips_BCTHW: Tensor) -> Tensor:
        logits_BK = clips_BCTHW.flatten(1) @ weights.flatten(1).T
        return F.cross_entropy(logits_BK, torch.zeros(len(logits_BK), dtype=torch.long), reduction="none")

    return weights, losses


def vit_losses() -> Losses:
    """Of a toy ViT, against what it says of the clean clips."""
    net = build({"name": "full"}).eval()
    shake(net)
    with torch.no_grad():
        labels_B = forward(net, clips(8), "fp32", CPU).argmax(dim=1)
    return label_losses(net, labels_B, "fp32", CPU)


def test_fgsm_of_a_linear_model_is_its_closed_form() -> None:
    """The gradient of the loss is along w2 - w1, whatever the clip."""
    weights, losses = linear_softmax()
    found, _ = attacked(losses, clips(), Attack("linf", 3, "fgsm"), seeded())
    expected = (clips().float() + 3 * (weights[1] - weights[0]).sign()).clamp(0, 255).to(torch.uint8)
    assert torch.equal(found, expected)


def test_fgsm_l2_of_a_linear_model_is_its_closed_form() -> None:
    """Along the gradient itself, 3 levels in the mean square, cut at black and white, and rounded."""
    weights, losses = linear_softmax()
    found, _ = attacked(losses, clips(), Attack("l2", 3, "fgsm"), seeded())
    along = weights[1] - weights[0]
    expected = (clips().float() + 3 * along.numel() ** 0.5 * along / along.norm()).clamp(0, 255).round()
    assert (found.float() - expected).abs().max() <= 1 and (found.float() == expected).float().mean() > 0.98


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
@pytest.mark.parametrize(("norm", "budget"), [("l2", 0.4), *product(("linf", "l2"), BUDGETS)])
@pytest.mark.parametrize("frames", [None, 2])
def test_real_clips_lie_within_the_budget(norm: str, budget: float, method: str, frames: int | None) -> None:
    _, losses = linear_softmax()
    attack = Attack(norm, budget, method, steps=3, frames=frames)  # type: ignore[arg-type]
    for found in attacked(losses, clips(), attack, seeded()):
        change = found.float() - clips()
        assert found.dtype == torch.uint8
        assert ((change != 0).sum(dim=(1, 3, 4)) > 0).sum(dim=1).max() <= (frames or 4)
        if norm == "linf":
            assert change.abs().max() <= budget
        else:
            assert change.flatten(1).square().sum(dim=1).max() <= budget**2 * 3 * (frames or 4) * 16 * 16 * (1 + 1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_the_nearest_change(norm: str) -> None:
    """Seen from the projection, no change within the budget lies on the side of what was projected."""
    grey = torch.full((1, 3, 4, 16, 16), 128, dtype=torch.uint8)  # far from black and white
    ball = _Ball(grey, Attack(norm, 2), torch.ones(1, 4, dtype=torch.bool))  # type: ignore[arg-type]
    for size in (0.5, 1.9, 5.0, 40.0):
        change = size * torch.randn(grey.shape, generator=seeded(2))
        nearest = ball.project(change)
        assert torch.allclose(ball.project(nearest), nearest, rtol=1e-6)
        inside = change.square().mean().sqrt() <= 2 if norm == "l2" else change.abs().max() <= 2
        assert torch.allclose(nearest, change, rtol=0, atol=1e-4) == bool(inside)
        for seed in range(20):
            other = ball.random_edge(seeded(seed))
            assert ((change - nearest).double() * (other - nearest)).sum() <= 0.1  # of 10,000 and more


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_beats_fgsm_beats_chance(norm: str) -> None:
    losses, clean = vit_losses(), clips(8)
    one_step, control = attacked(losses, clean, Attack(norm, 4, "fgsm"), seeded())  # type: ignore[arg-type]
    several, _ = attacked(losses, clean, Attack(norm, 4, "pgd", 10), seeded())  # type: ignore[arg-type]
    with torch.no_grad():
        of = {"pgd": several, "fgsm": one_step, "random": control, "clean": clean}
        loss_B = {name: losses(found.float()) for name, found in of.items()}
    mean = {name: float(values_B.mean()) for name, values_B in loss_B.items()}
    assert mean["pgd"] > mean["fgsm"] > mean["random"] + 0.1 * (mean["fgsm"] - mean["clean"]), mean
    assert (loss_B["pgd"] >= loss_B["clean"]).all()


def test_chosen_frames_are_those_of_the_largest_gradient() -> None:
    weights = torch.ones(3, 4, 16, 16) * torch.tensor([1.0, 4.0, 2.0, 3.0]).view(1, 4, 1, 1)
    found, _ = attacked(lambda x: (x * weights).flatten(1).sum(1), clips(), Attack(frames=2), seeded())
    assert ((found != clips()).sum(dim=(1, 3, 4)) > 0).tolist() == [[False, True, False, True]] * 3


def test_a_gradient_without_a_normal_square_is_followed() -> None:
    """A sure answer's: squared in float32 it is zero."""
    weights, _ = linear_softmax()
    faint, plain = (
        attacked(lambda x, k=k: (k * x * weights[0]).flatten(1).sum(1), clips(), Attack("l2", 3, "fgsm"), seeded())[0]
        for k in (1e-28, 1.0)
    )
    assert not torch.equal(faint, clips()) and (faint.float() - plain.float()).abs().max() <= 1


def test_the_seed_decides() -> None:
    attack = Attack("linf", 4, "pgd", 2)
    first, again, other = (attacked(vit_losses(), clips(8), attack, seeded(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 0.0}, "budget = 0.0: allowed: 1 to 255 grey levels"),
        (
            {"budget": 4 / 255},
            "budget = 0.0156.*: allowed: 1 to 255 grey levels, of which 4 are what papers call 4/255",
        ),
        ({"budget": float("nan")}, "budget = nan: allowed: 1 to 255"),
        ({"budget": 0.0, "norm": "l2"}, "budget = 0.0: allowed: more than 0"),
        ({"norm": "l1"}, "norm = 'l1': allowed: linf, l2"),
        ({"method": "cw"}, "method = 'cw': allowed: pgd, fgsm"),
        ({"steps": 0}, "steps = 0: allowed: 1 or more"),
        ({"frames": 0}, "frames = 0: allowed: 1 or more"),
    ],
)
def test_what_an_attack_cannot_be(wrong: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Attack(**wrong)


def test_a_budget_of_which_rounding_leaves_nothing() -> None:
    """As many normal numbers as values: the largest of them is a level from 0.5 / 3.22 levels of deviation on."""
    with pytest.raises(
        ConfigError, match=r"budget = 0.15: .* allowed: 0.156 or more, of the 768 values that may change"
    ):
        attacked(linear_softmax()[1], clips(), Attack("l2", 0.15, frames=1), seeded())
    found, control = attacked(linear_softmax()[1], clips(), Attack("l2", 0.2, "fgsm", frames=1), seeded())
    assert (found != clips()).any() and (control != clips()).any()


def test_more_frames_than_a_clip_has() -> None:
    with pytest.raises(ConfigError, match="frames = 5: allowed: 1 to 4"):
        attacked(linear_softmax()[1], clips(), Attack(frames=5), seeded())
