"""Procedural clips of moving objects in which only time tells the classes apart.

A clip is a point that travels through a space of coordinates (`COORDINATES`); each of them wraps around after one turn.
At its middle every coordinate is uniform on its turn, independent of the others and of the speeds. A motion moves one
coordinate, or two together, at a constant signed speed; the others drift slowly, by the same law in every motion. A
uniform value on a circle stays uniform when it is shifted, so *in every motion every frame has exactly the same
distribution*, and no single frame can tell two motions apart. Pixels depend on the state and on the seed alone (there
is no motion blur), and two opposite motions with the same seed are each other's time reversal. `painting` draws the pixels.

Everything is a pure function of (motion, seed), batched over clips and frames, on the device of the seeds.
Shapes: B clips, T frames, S coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videoadapt.rendering.noise import uniform

RENDERER_VERSION = 4  # raise it whenever the pixels of a given (motion, seed) change: rendered files carry it
FPS_HZ = 12


@dataclass(frozen=True)
class Coordinate:
    """Speeds of one coordinate in turns per second: `slow` to `fast` where a motion moves it, else up to `drift`."""

    slow: float
    fast: float
    drift: float


COORDINATES = {
    "x": Coordinate(0.4, 0.75, 0.015),  # the middle between the two objects, which stays well inside the frame
    "y": Coordinate(0.4, 0.75, 0.015),
    "size": Coordinate(0.35, 0.55, 0.015),
    "spin": Coordinate(0.16, 0.36, 0.015),  # each object about its own centre
    "gap": Coordinate(0.45, 0.75, 0.015),  # distance between the two objects
    "orbit": Coordinate(0.16, 0.36, 0.015),  # direction from one object to the other
    "stretch": Coordinate(0.35, 0.6, 0.015),  # width against height
    "brightness": Coordinate(0.35, 0.6, 0.015),
    "hue": Coordinate(0.25, 0.5, 0.015),
    "background_x": Coordinate(0.0, 0.0, 0.08),
    "background_y": Coordinate(0.0, 0.0, 0.08),
    "blob0_x": Coordinate(0.0, 0.0, 0.08),  # distractors
    "blob0_y": Coordinate(0.0, 0.0, 0.08),
    "blob1_x": Coordinate(0.0, 0.0, 0.08),
    "blob1_y": Coordinate(0.0, 0.0, 0.08),
}

# Which way each motion moves its coordinates; y points down, so a growing angle turns clockwise. The first motion of a
# pair is the second one played backwards. The vocabularies share no motion: one is for pre-training, one for adapting.
MOTIONS: dict[str, dict[str, dict[str, int]]] = {
    "quickstart": {
        "right": {"x": 1},
        "left": {"x": -1},
        "grow": {"size": 1},
        "shrink": {"size": -1},
        "clockwise": {"spin": 1},
        "counter_clockwise": {"spin": -1},
        "separate": {"gap": 1},
        "approach": {"gap": -1},
    },
    "trunk": {
        "down": {"y": 1},
        "up": {"y": -1},
        "down_right": {"x": 1, "y": 1},
        "up_left": {"x": -1, "y": -1},
        "up_right": {"x": 1, "y": -1},
        "down_left": {"x": -1, "y": 1},
        "orbit_clockwise": {"orbit": 1},
        "orbit_counter_clockwise": {"orbit": -1},
        "stretch": {"stretch": 1},
        "squeeze": {"stretch": -1},
        "brighten": {"brightness": 1},
        "darken": {"brightness": -1},
        "hue_forward": {"hue": 1},
        "hue_backward": {"hue": -1},
        "zoom_in": {"size": 1, "gap": 1},
        "zoom_out": {"size": -1, "gap": -1},
        "swell": {"size": 1, "gap": -1},
        "wither": {"size": -1, "gap": 1},
        "rise": {"y": -1, "gap": 1},
        "sink": {"y": 1, "gap": -1},
        "twist_clockwise": {"spin": 1, "orbit": 1},
        "twist_counter_clockwise": {"spin": -1, "orbit": -1},
    },
}
# Sixteen single changes from both, for comparing methods over a backbone that was pre-trained without labels.
MOTIONS["table"] = MOTIONS["quickstart"] | {
    name: MOTIONS["trunk"][name]
    for name in (
        "down", "up", "orbit_clockwise", "orbit_counter_clockwise", "stretch", "squeeze", "brighten", "darken",
    )
}  # fmt: skip
_MOVES = {name: moves for vocabulary in MOTIONS.values() for name, moves in vocabulary.items()}


def draw_states(motions: Sequence[str], seeds_B: Tensor, num_frames: int) -> Tensor:
    """Return the states of one clip per (motion, seed): float32 (B, T, S) in turns, [0, 1), columns as in COORDINATES.

    seeds_B: int64; the result lies on its device. Raises KeyError for a motion that neither vocabulary has.
    """
    signs = {name: [float(moves.get(key, 0)) for key in COORDINATES] for name, moves in _MOVES.items()}
    return travel(torch.tensor([signs[name] for name in motions], device=seeds_B.device), seeds_B, num_frames)


def draw_signs(size: int, generator: torch.Generator) -> Tensor:
    """Draw which way a motion of any kind moves each coordinate: (B, S) of -1, 0 and 1, one to four of them not 0."""
    moved = torch.tensor([index for index, c in enumerate(COORDINATES.values()) if c.fast])
    which_B4 = moved[torch.rand(size, len(moved), generator=generator).argsort(dim=1)[:, :4]]
    sign_B4 = 2.0 * torch.randint(2, (size, 4), generator=generator) - 1
    sign_B4[:, 1:] *= torch.randint(2, (size, 3), generator=generator)
    return torch.zeros(size, len(COORDINATES)).scatter_(1, which_B4, sign_B4)


def travel(signs_BS: Tensor, seeds_B: Tensor, num_frames: int) -> Tensor:
    """Return the states (B, T, S) of clips that move each coordinate forwards (1), backwards (-1), or let it drift (0)."""
    bounds = torch.tensor([[c.slow, c.fast, c.drift] for c in COORDINATES.values()], device=seeds_B.device)
    slow_S, fast_S, drift_S = bounds.unbind(1)
    # the first sign turns with a motion's opposite, so that equal seeds give exact time reversals, drift included
    sense_B1 = signs_BS.gather(1, (signs_BS != 0).int().argmax(dim=1, keepdim=True))
    middle_BS, speed_BS, drift_BS = uniform(seeds_B, 3 * len(COORDINATES)).chunk(3, dim=1)
    moving_BS = signs_BS * (slow_S + speed_BS * (fast_S - slow_S))
    resting_BS = sense_B1 * drift_S * (2 * drift_BS - 1)
    velocity_BS = torch.where(signs_BS != 0, moving_BS, resting_BS)
    time_T = (torch.arange(num_frames, device=seeds_B.device) - (num_frames - 1) / 2) / FPS_HZ
    states_BTS = torch.remainder(middle_BS[:, None] + velocity_BS[:, None] * time_T[:, None], 1.0)
    return torch.where(states_BTS < 1, states_BTS, 0.0)  # the remainder of a tiny negative number rounds to 1
