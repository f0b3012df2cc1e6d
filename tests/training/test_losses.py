"""Losses of clips with several labels against the equations that define them, and what softens their targets."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from videoadapt.data.structures import ClipBatch
from videoadapt.registry import LOSSES
from videoadapt.training.classification import Classification
from videoadapt.training.losses import Loss
from videoadapt.training.mixup import Mixup

MULTI = [name for name in LOSSES.names() if LOSSES.get(name).labels == "multi"]


def loss(name: str, **arguments: object) -> Loss:
    built: Loss = LOSSES.build({"name": name, **arguments})
    return built


def draw(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits_BK = 3 * torch.randn(16, 7, generator=generator, dtype=torch.float64)
    return logits_BK, (torch.rand(16, 7, generator=generator) < 0.3).double()


def test_there_are_three_for_several_labels() -> None:
    assert MULTI == ["asymmetric", "bce", "focal"] and LOSSES.get("cross_entropy").labels == "single"


def test_cross_entropy_is_torchs_to_the_bit() -> None:
    logits_BK, targets_BK = draw()[0].float(), torch.rand(16, 7).softmax(1)
    weights_K = torch.arange(1.0, 8)
    expected = F.cross_entropy(logits_BK, targets_BK, weight=weights_K, reduction="sum")
    assert torch.equal(loss("cross_entropy")(logits_BK, targets_BK, weights_K), expected)


def test_bce_is_torchs_with_and_without_weights() -> None:
    logits_BK, targets_BK = draw()
    weights_K = torch.arange(1.0, 8).double()
    for given, expected_weight in ((None, None), (weights_K, weights_K)):
        expected = F.binary_cross_entropy_with_logits(logits_BK, targets_BK, pos_weight=expected_weight) * len(
            logits_BK
        )
        torch.testing.assert_close(loss("bce")(logits_BK, targets_BK, given), expected)
        summed = loss("bce", over_classes="sum")(logits_BK, targets_BK, given)
        torch.testing.assert_close(summed, 7 * expected)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, None), (0.0, 0.75)])
def test_focal_is_torchvisions(gamma: float, alpha: float | None) -> None:
    logits_BK, targets_BK = draw()
    expected = sigmoid_focal_loss(
        logits_BK, targets_BK, alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="sum"
    )
    found = loss("focal", gamma=gamma, alpha=alpha, over_classes="sum")(logits_BK, targets_BK)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("there", "absent", "margin"), [(1.0, 4.0, 0.05), (0.0, 2.0, 0.2), (1.0, 0.0, 0.2), (0.0, 0.0, 0.0)]
)
def test_asymmetric_is_the_papers_equations(there: float, absent: float, margin: float) -> None:
    logits_BK, targets_BK = draw()
    expected = 0.0
    for logit, target in zip(logits_BK.flatten().tolist(), targets_BK.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        shifted = max(p - margin, 0)
        expected -= (1 - p) ** there * math.log(p) if target else shifted**absent * math.log(1 - shifted)
    made = loss("asymmetric", gamma_there=there, gamma_absent=absent, margin=margin)
    assert float(made(logits_BK, targets_BK)) == pytest.approx(expected, rel=1e-9)


def test_constant_powers_alter_the_gradient_alone() -> None:
    logits_BK, targets_BK = draw()
    values, gradients = [], []
    for constant in (False, True):
        x_BK = logits_BK.clone().requires_grad_()
        value = loss("asymmetric", constant_powers=constant)(x_BK, targets_BK)
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value, x_BK)[0])
    assert torch.equal(*values) and not torch.allclose(*gradients)


@pytest.mark.parametrize("name", MULTI)
@pytest.mark.parametrize("arguments", [{}, {"gamma": 0.5}, {"gamma_there": 0.5, "gamma_absent": 0.5}, {"margin": 0.0}])
def test_extreme_logits_have_finite_gradients(name: str, arguments: dict[str, float]) -> None:
    taken = {key: value for key, value in arguments.items() if key in LOSSES.schema(name)}
    logits_BK = torch.tensor([[-200.0, -20, 0, 20, 200]] * 2, requires_grad=True)
    for targets_BK in (torch.zeros(2, 5), torch.ones(2, 5)):
        value = loss(name, **taken)(logits_BK, targets_BK)
        (gradient,) = torch.autograd.grad(value, logits_BK)
        assert value.isfinite() and gradient.isfinite().all() and value >= 0


@pytest.mark.parametrize("name", MULTI)
def test_the_loss_of_a_mixture_is_the_mixture_of_losses(name: str) -> None:
    logits_BK, one_BK = draw()
    other_BK = draw(1)[1]
    mixed = loss(name)(logits_BK, 0.3 * one_BK + 0.7 * other_BK)
    torch.testing.assert_close(mixed, 0.3 * loss(name)(logits_BK, one_BK) + 0.7 * loss(name)(logits_BK, other_BK))


def test_mixup_and_smoothing_of_several_labels() -> None:
    labels_BK = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    clips_BCTHW = torch.arange(2.0).view(2, 1, 1, 1, 1).expand(2, 3, 1, 4, 4)
    smooth = Mixup(mixup_alpha=0, cutmix_alpha=0, label_smoothing=0.2, num_classes=3)
    torch.testing.assert_close(
        smooth(clips_BCTHW, labels_BK, torch.Generator())[1], torch.tensor([[0.9, 0.1, 0.9], [0.1, 0.1, 0.1]])
    )
    mix = Mixup(mixup_alpha=0.8, cutmix_alpha=0, label_smoothing=0, num_classes=3)
    mixed, targets_BK = mix(clips_BCTHW, labels_BK, torch.Generator().manual_seed(3))
    share = float(1 - mixed[0].max())  # of the first clip, which is black, in itself
    assert 0.01 < share < 0.99
    torch.testing.assert_close(targets_BK, torch.tensor([[share, 0, share], [1 - share, 0, 1 - share]]))


def test_an_objective_of_several_labels_has_no_top1() -> None:
    batch = ClipBatch(
        torch.zeros(2, 3, 1, 4, 4, dtype=torch.uint8), torch.tensor([[1.0, 0], [1, 1]]), ("a", "b"), (None, None)
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    mixup = Mixup(mixup_alpha=0, cutmix_alpha=0, label_smoothing=0, num_classes=2)
    sums = Classification(mixup, loss=loss("bce"))(model, batch, torch.Generator())
    assert list(sums) == ["loss"]
