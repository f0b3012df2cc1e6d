"""Unequal classes in the loss, against their equations written out, and a run that draws them alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.toy_runs import assert_same_run, toy_config, write_config
from videoadapt.cli.train import main
from videoadapt.config.schema import EffectiveNumber
from videoadapt.data.structures import ClipBatch
from videoadapt.registry import DATASETS
from videoadapt.training.classification import Classification
from videoadapt.training.mixup import Mixup
from videoadapt.training.unequal import class_weights, logit_shifts

CLIPS_K = np.array([200.0, 20.0, 20.0, 5.0])


def test_inverse_weights_give_every_class_the_same_part() -> None:
    weights_K = class_weights("inverse", CLIPS_K)
    assert weights_K is not None and weights_K.dtype == torch.float32
    np.testing.assert_allclose(weights_K.numpy() * CLIPS_K, [245 / 4] * 4, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 0.99, 1 - 1e-9])
def test_effective_weights_are_those_of_cui(beta: float) -> None:
    weights_K = class_weights(EffectiveNumber(effective=beta), CLIPS_K)
    by_hand = 1 / np.array(
        [sum(beta**i for i in range(int(n))) for n in CLIPS_K]
    )  # the number as a series: the i-th clip, from 0, adds beta^i
    assert weights_K is not None
    np.testing.assert_allclose(weights_K, by_hand * 245 / (by_hand * CLIPS_K).sum(), rtol=1e-5)
    np.testing.assert_allclose((weights_K.numpy() * CLIPS_K).sum(), 245, rtol=1e-6)


def test_shifts_are_logarithms_of_shares() -> None:
    shifts_K = logit_shifts(2.0, np.array([6.0, 1.0, 1.0]))
    assert shifts_K is not None and shifts_K.dtype == torch.float32
    expected = [2 * np.log(3 / 4), 2 * np.log(1 / 8), 2 * np.log(1 / 8)]
    np.testing.assert_allclose(shifts_K, expected, rtol=1e-6)


def test_a_list_is_taken_as_it_is() -> None:
    weights_K = class_weights([2.0, 0.5, 1.0, 1.0], CLIPS_K)
    assert weights_K is not None and weights_K.tolist() == [2.0, 0.5, 1.0, 1.0]
    assert class_weights(None, CLIPS_K) is None and logit_shifts(0.0, CLIPS_K) is None


class _Constant(nn.Module):
    def __init__(self, logits_BK: Tensor):
        super().__init__()
        self.logits_BK = logits_BK

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        return self.logits_BK


def _sums(logits_BK: Tensor, labels: list[int], mixup: float = 0.0, **how: Tensor | None) -> dict[str, float]:
    """What the objective sums for these logits."""
    parts = Mixup(mixup_alpha=mixup, cutmix_alpha=0, label_smoothing=0.1, num_classes=4)
    clips = torch.zeros(len(labels), 3, 2, 4, 4, dtype=torch.uint8)
    batch = ClipBatch(clips, torch.tensor(labels), ("x",) * len(labels), (None,) * len(labels))
    sums = Classification(parts, **how)(_Constant(logits_BK), batch, torch.Generator().manual_seed(1))
    return {name: float(value) for name, value in sums.items()}


def _targets(labels: list[int], mixup: float) -> np.ndarray:
    parts = Mixup(mixup_alpha=mixup, cutmix_alpha=0, label_smoothing=0.1, num_classes=4)
    clips = torch.zeros(len(labels), 3, 2, 4, 4)
    return parts(clips, torch.tensor(labels), torch.Generator().manual_seed(1))[1].double().numpy()


@pytest.mark.parametrize("mixup", [0.0, 0.8])
def test_the_loss_is_the_equation_and_predictions_are_plain(mixup: float) -> None:
    logits_BK, labels = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), [0, 3, 1]
    logits_BK[1] = torch.tensor([1.0, 0.0, 0.0, 1.1])  # class 3, and with the shifts class 0
    targets_BK, z_BK = _targets(labels, mixup), logits_BK.double().numpy()
    weights_K, shifts_K = class_weights("inverse", CLIPS_K), logit_shifts(1.5, CLIPS_K)
    shifted_BK = z_BK + 1.5 * np.log(CLIPS_K / CLIPS_K.sum())

    def loss(of_BK: np.ndarray, weights: np.ndarray) -> float:
        log_p_BK = of_BK - np.log(np.exp(of_BK).sum(axis=1, keepdims=True))
        return -float((weights * targets_BK * log_p_BK).sum())

    plain = _sums(logits_BK, labels, mixup)
    both = _sums(logits_BK, labels, mixup, weights_K=weights_K, shifts_K=shifts_K)
    assert plain["loss"] == pytest.approx(loss(z_BK, np.ones(4)), rel=1e-5)
    weighed = _sums(logits_BK, labels, mixup, weights_K=weights_K)["loss"]
    assert weighed == pytest.approx(loss(z_BK, np.asarray(weights_K)), rel=1e-5)
    assert _sums(logits_BK, labels, mixup, shifts_K=shifts_K)["loss"] == pytest.approx(
        loss(shifted_BK, np.ones(4)), rel=1e-5
    )
    assert both["loss"] == pytest.approx(loss(shifted_BK, np.asarray(weights_K)), rel=1e-5)
    assert both["top1"] == plain["top1"] == 100.0 * int((z_BK.argmax(1) == labels).sum())
    assert shifted_BK[1].argmax() == 0


@pytest.mark.slow
def test_a_balanced_run_is_the_same_with_other_workers(clips: Path, tmp_path: Path) -> None:
    toy = toy_config(tmp_path, clips)["data"]
    for split in ("train", "test"):
        videos = DATASETS.build(toy["dataset"]).load(split, clips)
        few = [video for video in videos if video.label == 0 or split == "test" or video.line % 3 == 0]
        (tmp_path / f"{split}.csv").write_text("".join(f"{video.id} {video.label}\n" for video in few))
    data = {**toy, "dataset": {"name": "video_list"}, "classes": 8, "balance": 1.0}
    data |= {split: str(tmp_path / f"{split}.csv") for split in ("train", "test")}
    losses = {"class_weights": {"effective": 0.9}, "logit_adjustment": 0.5}
    for name, workers in (("a", 0), ("b", 2)):
        config = toy_config(tmp_path / name, clips, data={**data, "workers": workers})
        config["train"] |= losses
        assert main(["--cfg", str(write_config(tmp_path / f"{name}.yaml", config))]) == 0
    assert_same_run(tmp_path / "a", tmp_path / "b")
