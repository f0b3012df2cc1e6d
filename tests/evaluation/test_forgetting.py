"""What a tuning leaves: adapters come off without a trace, and a linear probe reads what is linear in features."""

import pytest
import torch

from tests.toy_models import ADAPTERS, CLIP, build, shake
from videoadapt.evaluation.forgetting import _fitted, bare_backbone, forgetting, linear_probe

TRAINS_THE_BACKBONE = {"full", "bitfit", "lora+bitfit", "houlsby"}  # Houlsby's: its norms


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_come_off_bit_for_bit(name: str) -> None:
    """Every method whose frozen tensors stay: after any training the bare features are those of before."""
    tuned = build(ADAPTERS[name])
    before = bare_backbone(tuned.backbone, build({"name": "linear"}).backbone)
    with torch.no_grad():
        then = before.eval()(CLIP)
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
        fresh = build({"name": "linear"}).backbone
        shake(fresh)
        now = bare_backbone(tuned.backbone, fresh).eval()(CLIP)
        changed = name == "linear" or not torch.equal(tuned.eval().backbone(CLIP), then)
    assert torch.equal(now, then) == (name not in TRAINS_THE_BACKBONE)
    assert changed


def blobs(seed: int, apart: float, count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes around three points of a plane in 6 dimensions, of very different scales, far from zero."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.arange(count) % 3
    centres_KD = torch.zeros(3, 6)
    centres_KD[1, 0], centres_KD[2, 1] = apart, apart
    features_ND = centres_KD[labels_N] + torch.randn(count, 6, generator=generator)
    return 1000 + features_ND * 10.0 ** torch.arange(-3, 3), labels_N


def test_probe_stands_at_the_minimum_of_its_loss() -> None:
    """Convex, so that a place without a gradient is the only one; computed here from the probabilities."""
    (features_ND, labels_N), penalty = blobs(0, 2.0), 1e-3
    features_ND = ((features_ND - features_ND.mean(0)) / features_ND.std(0)).double()
    weights = _fitted(features_ND, labels_N, 3, penalty)
    with_ones = torch.cat([torch.ones(300, 1, dtype=torch.float64), features_ND], dim=1)
    wrong_NK = (with_ones @ weights.T).softmax(dim=1) - torch.nn.functional.one_hot(labels_N, 3)
    slope = wrong_NK.T @ with_ones / 300
    slope[:, 1:] += 2 * penalty * weights[:, 1:]
    assert slope.abs().max() < 1e-4 < weights.abs().max()


@pytest.mark.parametrize(("apart", "low", "high"), [(2.0, 70, 90), (0.0, 20, 47)])
def test_probe_reads_what_is_there(apart: float, low: float, high: float) -> None:
    """Normal classes at 0, 2 e1 and 2 e2: the best rule has about four fifths right, chance is a third."""
    (train_ND, labels_N), (test_MD, labels_M) = blobs(0, apart), blobs(1, apart)
    assert low < linear_probe(train_ND, labels_N, test_MD, labels_M) < high


def test_forgetting_says_what_was_lost() -> None:
    (train_ND, labels_N), (test_MD, labels_M) = blobs(0, 3.0), blobs(1, 3.0)
    before, lost = (train_ND, test_MD), (train_ND[:, 2:], test_MD[:, 2:])  # the classes differ in the first two
    found = forgetting(labels_N, labels_M, before, lost, before)
    assert found.before == found.removed > 85 and found.tuned < 50 and found.removed_is_before
    other = forgetting(labels_N, labels_M, before, before, lost)
    assert other.removed < 50 and not other.removed_is_before
