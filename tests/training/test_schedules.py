"""The learning rates agree with the reference's code and with those of torch."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from videoadapt.config.schema import OptimConfig
from videoadapt.data.batches import Schedule
from videoadapt.training.build import build_learning_rate
from videoadapt.training.schedules import OneCycle, WarmupCosine

FACTS = json.loads((Path(__file__).parents[1] / "golden" / "facts.json").read_text())["lr_schedule"]


@pytest.mark.parametrize("epoch", FACTS["at_epoch"])
def test_schedule_of_the_reference(epoch: str) -> None:
    learning_rate = WarmupCosine(FACTS["lr"], FACTS["epochs"], 40, FACTS["warmup_epochs"], minimum=FACTS["min_lr"])
    lr = learning_rate(round(float(epoch) * 40))
    assert lr == pytest.approx(FACTS["at_epoch"][epoch], rel=1e-12, abs=1e-15)  # the same float64 formula


def test_warm_up_peak_and_minimum() -> None:
    learning_rate = WarmupCosine(2e-3, epochs=8, steps_per_epoch=10, warmup_epochs=2, start=2e-6, minimum=2e-5)
    assert learning_rate(0) == pytest.approx(2e-6)
    assert learning_rate(10) == pytest.approx((2e-6 + 2e-3) / 2)
    assert learning_rate(20) == pytest.approx(2e-3)
    assert learning_rate(50) == pytest.approx((2e-3 + 2e-5) / 2)
    assert learning_rate(80) == learning_rate(100) == pytest.approx(2e-5)


def test_videomaes_warm_up_has_the_peak_in_its_last_update() -> None:
    learning_rate = WarmupCosine(2e-3, 8, 10, warmup_epochs=2, minimum=2e-5, peak_within=True)
    warm_up = np.linspace(0, 2e-3, 20)  # as its cosine_scheduler has it
    decay = [2e-5 + 0.5 * (2e-3 - 2e-5) * (1 + math.cos(math.pi * step / 60)) for step in range(60)]
    found = [learning_rate(step) for step in range(80)]
    assert found == pytest.approx([*warm_up, *decay], rel=1e-12, abs=1e-18)  # the same float64 formulas
    assert WarmupCosine(2e-3, 8, 10, warmup_epochs=0.1, peak_within=True)(0) == 0  # a warm-up of one update
    from_1 = WarmupCosine(9.0, 8, 10, warmup_epochs=0.5, start=1.0, peak_within=True)
    assert [from_1(step) for step in range(5)] == [1, 3, 5, 7, 9]


@pytest.mark.parametrize(("warmup_epochs", "updates"), [(1.1, 110), (0.025, 3), (0.07, 7), (2.0, 200)])
def test_the_peak_is_in_the_last_update_of_a_broken_warm_up(warmup_epochs: float, updates: int) -> None:
    """1.1 and 0.07 times 100 are a little above 110 and 7 in float64."""
    learning_rate = WarmupCosine(2.0, 8, 100, warmup_epochs, peak_within=True)
    assert [learning_rate(step) for step in range(updates)] == pytest.approx(list(np.linspace(0, 2.0, updates)))
    assert learning_rate(updates) == pytest.approx(2.0, rel=1e-4)  # at the top of the cosine


def test_a_training_that_is_all_warm_up_ends_at_the_peak() -> None:
    assert WarmupCosine(2.0, epochs=2, steps_per_epoch=10, warmup_epochs=2, minimum=0.1)(20) == 2.0


PEAK, EPOCHS, STEPS = 0.4, 6, 5  # 30 updates


def ours(schedule: dict[str, Any], **optim: Any) -> list[float]:
    """The rates of a training of batches of 256, whose rates are the config's."""
    config = OptimConfig(**{"lr_per_256": PEAK, "warmup_epochs": 0, "schedule": schedule, **optim})
    updates = Schedule(num_videos=256 * STEPS, batch_size=256, epochs=EPOCHS, accumulate=1, seed=0)
    learning_rate = build_learning_rate(config, updates)
    return [learning_rate(step) for step in range(updates.total_steps)]


def torchs(
    build: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], num: int = EPOCHS * STEPS
) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=PEAK)
    scheduler, found = build(optimizer), []
    for _ in range(num):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


TORCH = [
    (
        {"name": "cosine"},
        {"min_lr_per_256": 0.01},
        lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS * STEPS, eta_min=0.01),
    ),
    ({"name": "constant"}, {}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    (
        {"name": "step", "milestones_epochs": [2, 4, 5], "factor": 0.3},
        {},
        lambda o: lr_scheduler.MultiStepLR(o, [2 * STEPS, 4 * STEPS, 5 * STEPS], gamma=0.3),
    ),
    ({"name": "step", "milestones_epochs": [2, 4]}, {}, lambda o: lr_scheduler.StepLR(o, 2 * STEPS)),
    ({"name": "polynomial"}, {}, lambda o: lr_scheduler.PolynomialLR(o, EPOCHS * STEPS)),
    ({"name": "polynomial", "power": 0.9}, {}, lambda o: lr_scheduler.PolynomialLR(o, EPOCHS * STEPS, power=0.9)),
    (
        {"name": "one_cycle"},
        {"warmup_lr_per_256": PEAK / 25, "min_lr_per_256": PEAK / 25e4},
        lambda o: lr_scheduler.OneCycleLR(o, PEAK, EPOCHS * STEPS),
    ),
    (
        {"name": "one_cycle", "rise": 0.55},
        {"warmup_lr_per_256": PEAK / 10, "min_lr_per_256": PEAK / 100},
        lambda o: lr_scheduler.OneCycleLR(o, PEAK, EPOCHS * STEPS, pct_start=0.55, div_factor=10, final_div_factor=10),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "optim", "build"), TORCH)
def test_every_schedule_has_torchs_rates(schedule: dict[str, Any], optim: dict[str, Any], build: Any) -> None:
    # torch makes each rate out of the one before, thirty roundings in float64 one after the other
    assert ours(schedule, **optim) == pytest.approx(torchs(build), rel=1e-12, abs=1e-16)


@pytest.mark.parametrize(
    ("schedule", "build"),
    [
        ({"name": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, 4 * STEPS)),
        ({"name": "polynomial", "power": 2.0}, lambda o: lr_scheduler.PolynomialLR(o, 4 * STEPS, power=2.0)),
        ({"name": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ],
)
def test_the_warm_up_comes_first_and_the_rest_follows_it(schedule: dict[str, Any], build: Any) -> None:
    found = ours(schedule, warmup_epochs=2, warmup_lr_per_256=0.02)
    assert found[: 2 * STEPS] == pytest.approx([0.02 + 0.38 * step / 10 for step in range(10)], rel=1e-12)
    assert found[2 * STEPS :] == pytest.approx(torchs(build, 4 * STEPS), rel=1e-12, abs=1e-16)  # as above


def test_one_cycle_may_begin_at_its_peak_and_stays_at_its_end() -> None:
    found = ours({"name": "one_cycle", "rise": 0}, warmup_lr_per_256=0.01, min_lr_per_256=0.1)
    by_hand = [0.1 + 0.3 * (1 + math.cos(math.pi * step / 29)) / 2 for step in range(30)]
    assert found == pytest.approx(by_hand, rel=1e-12)  # the same float64 formula
    cycle = OneCycle(PEAK, EPOCHS, STEPS, minimum=0.1)
    assert cycle(30) == cycle(45) == cycle(29) == pytest.approx(0.1, rel=1e-12)


def test_milestones_count_from_the_start_of_training() -> None:
    found = ours({"name": "step", "milestones_epochs": [3], "factor": 0.5}, warmup_epochs=2, min_lr_per_256=0.2)
    assert found[9] < found[10] == found[14] == PEAK
    assert found[15] == found[29] == pytest.approx(0.2 + 0.5 * 0.2, rel=1e-15)


def test_a_training_of_one_update_has_a_rate() -> None:
    updates = Schedule(num_videos=256, batch_size=256, epochs=1, accumulate=1, seed=0)
    for schedule in ("cosine", "constant", "polynomial", "one_cycle"):
        config = OptimConfig.model_validate({"lr_per_256": PEAK, "warmup_epochs": 0, "schedule": schedule})
        assert build_learning_rate(config, updates)(0) == PEAK


def test_the_cosine_is_what_it_was_to_the_bit() -> None:
    """As the released formula is written: half of the way times one and the cosine."""
    learning_rate = WarmupCosine(0.1 * 64 / 256, 90, 37, 10, minimum=1e-6)
    for step in range(370, 90 * 37):
        progress = (step / 37 - 10) / 80
        assert learning_rate(step) == 1e-6 + (0.025 - 1e-6) * 0.5 * (1 + math.cos(math.pi * progress))
