"""In every motion every frame has the same distribution, and the motions are what their names say."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from videoadapt.rendering import motions as m
from videoadapt.rendering import painting
from videoadapt.rendering.noise import uniform

NAMES = [name for vocabulary in ("quickstart", "trunk") for name in m.MOTIONS[vocabulary]]
PAIRS = list(zip(NAMES[::2], NAMES[1::2], strict=True))
KEYS = list(m.COORDINATES)
NUM_FRAMES = 24


def circular(difference: Tensor) -> Tensor:
    """Signed difference of two phases, the short way round."""
    return torch.remainder(difference + 0.5, 1.0) - 0.5


def resting_state(**phases: float) -> Tensor:
    """A (1, 1, S) state with every coordinate half-way except those given."""
    state = torch.full((1, 1, len(KEYS)), 0.5)
    for key, phase in phases.items():
        state[..., KEYS.index(key)] = phase
    return state


def object_alpha(state: Tensor, name: str = "object0") -> Tensor:
    look_BN = uniform(torch.tensor([3]), 5)
    return painting._object(painting._Canvas(96, 96, state.device), state, look_BN, name)[1][0, 0]


def centroid(alpha_HW: Tensor) -> tuple[float, float]:
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in alpha_HW.shape), indexing="ij")
    return float((alpha_HW * columns).sum() / alpha_HW.sum()), float((alpha_HW * rows).sum() / alpha_HW.sum())


def test_the_trunks_pairs_are_opposite_and_not_the_quickstarts() -> None:
    assert len(NAMES) == len(set(NAMES)) == 30
    assert len({tuple(sorted(moves.items())) for v in m.MOTIONS.values() for moves in v.values()}) == 30
    for vocabulary in m.MOTIONS.values():
        for one, other in zip(list(vocabulary)[::2], list(vocabulary)[1::2], strict=True):
            assert vocabulary[one] == {key: -sign for key, sign in vocabulary[other].items()}


def test_the_table_has_sixteen_single_changes() -> None:
    assert len(m.MOTIONS["table"]) == 16 and all(len(moves) == 1 for moves in m.MOTIONS["table"].values())
    assert len({next(iter(moves)) for moves in m.MOTIONS["table"].values()}) == 8


@pytest.mark.parametrize("name", NAMES)
def test_every_coordinate_is_uniform_in_every_frame(name: str) -> None:
    count = 2048
    seeds_B = torch.arange(count) + NAMES.index(name) * count
    states_BTS = m.draw_states([name] * count, seeds_B, NUM_FRAMES)
    assert states_BTS.min() >= 0 and states_BTS.max() < 1
    for frame in (0, 11, 23):
        ordered = states_BTS[:, frame].sort(dim=0).values
        distance_S = (ordered - (torch.arange(count)[:, None] + 0.5) / count).abs().amax(0)
        assert distance_S.max() < 2.3 / math.sqrt(count), KEYS[int(distance_S.argmax())]  # Kolmogorov-Smirnov, p 5e-5
        angles = 2 * math.pi * states_BTS[:, frame]
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        dependence = (waves.T @ waves / count * 2 - torch.eye(waves.shape[1])).abs()
        assert dependence.max() < 6 / math.sqrt(count)


@pytest.mark.parametrize("name", NAMES)
def test_a_motion_moves_its_coordinates_and_only_those(name: str) -> None:
    states_BTS = m.draw_states([name] * 500, torch.arange(500), NUM_FRAMES)
    velocity_BTS = circular(states_BTS[:, 1:] - states_BTS[:, :-1]) * m.FPS_HZ
    moves = next(v[name] for v in m.MOTIONS.values() if name in v)
    for index, (key, coordinate) in enumerate(m.COORDINATES.items()):
        velocity = velocity_BTS[..., index] * moves.get(key, 1)
        if key in moves:
            assert velocity.min() > coordinate.slow - 1e-4 and velocity.max() < coordinate.fast + 1e-4
        else:
            assert velocity.abs().max() < coordinate.drift + 1e-4
            assert abs(velocity.mean()) < 0.1 * coordinate.drift


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_opposite_motions_are_each_others_time_reversal(one: str, other: str) -> None:
    seeds_B = torch.tensor([5, -(2**62) - 1])
    first, second = (m.draw_states([name] * 2, seeds_B, 9) for name in (one, other))
    assert circular(first - second.flip(1)).abs().max() < 1e-5
    frames = [painting.render(states, seeds_B, 36, 48).int() for states in (first, second)]
    # rounding may move a pixel by a level, and by more where a coordinate is about to jump
    assert ((frames[0] - frames[1].flip(1)).abs() <= 1).float().mean() > 0.999
    assert ((frames[0] - frames[1]).abs() > 8).float().mean() > 0.002  # unlike in time: a frame-by-frame difference


def test_a_frame_depends_on_its_own_state_and_seed_alone() -> None:
    seeds_B = torch.arange(8)
    states_BTS = m.draw_states(list(m.MOTIONS["quickstart"]), seeds_B, NUM_FRAMES)
    clips = painting.render(states_BTS, seeds_B, 36, 48).int()
    assert clips.shape == (8, NUM_FRAMES, 36, 48, 3)
    alone = painting.render(states_BTS[3:4, 17:18], seeds_B[3:4], 36, 48).int()
    assert (clips[3:4, 17:18] - alone).abs().max() <= 1
    assert len({bytes(clip.numpy()) for clip in clips[:, 0]}) == 8


def test_pictures_show_objects_in_colour_on_a_darker_ground() -> None:
    state = resting_state()
    seeds_B = torch.arange(64)
    frames_BHWC = painting.render(state.expand(64, 1, -1), seeds_B, 72, 96)[:, 0].float()
    brightest_BHW = frames_BHWC.amax(-1)
    share_B = (brightest_BHW > 130).float().mean(dim=(1, 2))
    assert share_B.median() > 0.08
    assert brightest_BHW.flatten(1).median(dim=1).values.median() < 100


def test_right_down_and_separate_go_where_they_say() -> None:
    x0, y0 = centroid(object_alpha(resting_state()))
    assert centroid(object_alpha(resting_state(x=0.6)))[0] > x0 + 2
    assert centroid(object_alpha(resting_state(y=0.6)))[1] > y0 + 2
    near, far = (
        math.dist(*(centroid(object_alpha(resting_state(gap=gap), name)) for name in ("object0", "object1")))
        for gap in (0.3, 0.7)
    )
    assert far > near + 10


def test_grow_and_stretch_change_the_shape() -> None:
    small, large = (object_alpha(resting_state(size=phase)) for phase in (0.3, 0.7))
    assert large.sum() > 1.3 * small.sum()
    tall, wide = (object_alpha(resting_state(stretch=phase)) > 0.5 for phase in (0.2, 0.8))
    assert wide.any(0).sum() > 1.3 * tall.any(0).sum() and wide.any(1).sum() < tall.any(1).sum() / 1.3


def test_spin_and_orbit_turn_clockwise_on_the_screen() -> None:
    before = object_alpha(resting_state(spin=0.1, orbit=0.2))
    after = object_alpha(resting_state(spin=0.35, orbit=0.45))
    assert (after - before.rot90(-1)).abs().max() < 1e-3
    assert (after - before.rot90(1)).abs().max() > 0.9


def test_no_shape_looks_the_same_after_a_turn() -> None:
    for shape, turn in itertools.product(range(len(painting._SHAPES)), (0.25, 0.5, 0.75)):
        look_BN = torch.tensor([[(shape + 0.5) / len(painting._SHAPES), 0.9, 0.5, 0.5, 0.0]])
        canvas = painting._Canvas(96, 96, look_BN.device)
        masks = [
            painting._object(canvas, resting_state(spin=spin), look_BN, "object0")[1] > 0.5
            for spin in (0.1, 0.1 + turn)
        ]
        overlap = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
        assert overlap < 0.75, (shape, turn)


def test_objects_fade_where_a_coordinate_jumps() -> None:
    assert object_alpha(resting_state()).max() == 1
    for key in ("x", "y", "size", "gap", "stretch", "brightness"):
        for phase in (0.001, 0.999):
            assert 0.49 < object_alpha(resting_state(**{key: phase})).max() < 0.6


def test_random_numbers_are_splitmix64() -> None:
    def finalise(value: int) -> int:
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    seeds = [0, 1, -1, 2**63 - 1, -(2**63)]
    numbers = uniform(torch.tensor(seeds), 3, stream=1)
    for row, seed in enumerate(seeds):
        for column in range(3):
            mixed = finalise((finalise(seed % 2**64) + (column + 2**20) * 0x9E3779B97F4A7C15) % 2**64)
            assert float(numbers[row, column]) == (mixed >> 40) / 2**24


def test_an_unknown_motion_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="sideways"):
        m.draw_states(["sideways"], torch.tensor([0]), 2)
