"""Few-shot episodes against cases whose answer is known."""

import itertools

import numpy as np
import pytest

from videoadapt.errors import ConfigError, DataListError
from videoadapt.evaluation.episodes import few_shot_accuracy

RNG = np.random.default_rng(5)
APART = np.repeat(np.eye(6) * 100, 20, axis=0) + RNG.normal(size=(120, 6))
LABELS = np.repeat(np.arange(6) * 7, 20)  # any numbers


def test_classes_far_apart_are_all_told() -> None:
    found = few_shot_accuracy(APART, LABELS, ways=6, shots=1, queries=19, episodes=20)
    assert (found.accuracy, found.interval, str(found)) == (100, 0, "100.00 +/- 0.00 % (20 episodes)")


def test_features_of_chance_give_chance() -> None:
    noise, labels = RNG.normal(size=(6000, 6)), np.repeat(np.arange(6), 1000)
    found = few_shot_accuracy(noise, labels, ways=4, shots=2, queries=5, episodes=2000)
    # 20 answers an episode: sqrt(0.25 x 0.75 / 20) = 9.7 % of spread, were they independent
    assert abs(found.accuracy - 25) < 2 * found.interval and found.interval == pytest.approx(
        1.96 * 9.7 / 2000**0.5, rel=0.2
    )


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_the_mean_of_all_episodes_there_can_be(distance: str) -> None:
    """Two classes of three videos, two shots and a query each: nine episodes, each counted by the definition."""
    features_ND = np.array([[1.0, 0.2], [3.0, -1.0], [0.4, 2.0], [0.1, 1.0], [1.0, 1.5], [4.0, 3.0]])

    def nearness(query: int, others: list[tuple[int, ...]]) -> list[float]:
        x, means = features_ND[query], []
        for pair in others:
            rows = features_ND[list(pair)]
            if distance == "cosine":
                rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            means.append(rows.mean(0))
        if distance == "cosine":
            return [np.dot(x, mean) / np.linalg.norm(mean) for mean in means]
        return [-np.sum((x - mean) ** 2) for mean in means]

    all_of_them = []
    for one, other in itertools.product(range(3), range(3, 6)):
        first = tuple(row for row in range(3) if row != one)
        second = tuple(row for row in range(3, 6) if row != other)
        hits = [
            np.argmax(nearness(one, [first, second])) == 0,
            np.argmax(nearness(other, [first, second])) == 1,
        ]
        all_of_them.append(50 * sum(hits))
    found = few_shot_accuracy(
        features_ND, [0, 0, 0, 1, 1, 1], ways=2, shots=2, queries=1, episodes=3000, distance=distance
    )
    assert set(found.episodes_E) == set(all_of_them)
    assert abs(found.accuracy - np.mean(all_of_them)) < 2 * found.interval
    assert found.interval == pytest.approx(1.96 * np.std(found.episodes_E, ddof=1) / 3000**0.5)


def test_the_seed_draws_and_small_classes_are_left_out() -> None:
    noise = APART + RNG.normal(size=APART.shape) * 60
    once, again, other = (few_shot_accuracy(noise, LABELS, episodes=50, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(once.episodes_E, again.episodes_E) and not np.array_equal(once.episodes_E, other.episodes_E)
    with_one_more = few_shot_accuracy(
        np.vstack([noise, noise[:3]]), np.append(LABELS, [99, 99, 99]), episodes=50, seed=0
    )
    assert np.array_equal(once.episodes_E, with_one_more.episodes_E)


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(DataListError, match="0 of 6 classes have the 26 videos of 1 shots and 25 queries; 5 ways"):
        few_shot_accuracy(APART, LABELS, queries=25)
    with pytest.raises(ConfigError, match=r"ways = 1: allowed: 2 or more\n.*episodes = 0: .*\n.*distance = 'l1'"):
        few_shot_accuracy(APART, LABELS, ways=1, episodes=0, distance="l1")  # type: ignore[arg-type]
    with pytest.raises(DataListError, match=r"features \(120, 6\) and labels \(119,\)"):
        few_shot_accuracy(APART, LABELS[1:])
    broken = APART.copy()
    broken[7, 2] = np.nan
    with pytest.raises(DataListError, match="row 7 is not finite"):
        few_shot_accuracy(broken, LABELS)
