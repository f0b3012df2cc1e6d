"""Procedural clips of moving objects in which only time tells the classes apart.

A clip is a point that travels through a space of coordinates (`COORDINATES`); each of them wraps around after one turn.
At its middle every coordinate is uniform on its turn, independent of the others and of the speeds. A motion moves one
coordinate, or two together, at a constant signed speed; the others drift slowly, by the same law in every motion. A
uniform value on a circle stays uniform when it is shifted, so *in every motion every frame has exactly the same
distribution*, and no single frame can tell two motions apart. Pixels depend on the state and on the seed alone (there
is no motion blur), and two opposite motions with the same seed are each other's time reversal.

Everything is a pure function of (motion, seed), batched over clips and frames, on the device of the seeds.
Shapes: B clips, T frames, S coordinates, N random numbers, K waves or strokes, C colours, H W pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
_INDEX = {name: index for index, name in enumerate(COORDINATES)}

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

# Three strokes per object, (ax, ay, bx, by, radius) in units of the object's size; none looks the same after any turn.
_SHAPES = (
    ((-0.5, -0.85, -0.5, 0.7, 0.3), (-0.5, 0.7, 0.7, 0.7, 0.3), (-0.5, 0.7, -0.1, 0.7, 0.3)),  # L
    ((-0.85, 0.0, 0.75, 0.0, 0.26), (0.75, 0.0, 0.1, -0.65, 0.26), (0.75, 0.0, 0.1, 0.65, 0.26)),  # arrow
    ((0.45, 0.0, 0.5, 0.0, 0.5), (0.3, 0.0, -0.9, 0.0, 0.24), (-0.85, 0.0, -0.85, 0.45, 0.24)),  # key
    ((-0.4, -0.8, -0.4, 0.9, 0.26), (-0.4, -0.8, 0.65, -0.8, 0.26), (-0.4, 0.0, 0.35, 0.0, 0.26)),  # F
)
# How much slower than at its seam, where it jumps, a coordinate is half-way: so a jump is seldom seen.
_DWELL = 0.4
_JUMPING = ("x", "y", "size", "gap", "stretch", "brightness")
_WAVES = 8
_LOOK = {"tone": 3, "object0": 5, "object1": 5, "blob0": 5, "blob1": 5, "waves": 7 * _WAVES}  # random numbers for each


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
    middle_BS, speed_BS, drift_BS = _uniform(seeds_B, 3 * len(COORDINATES)).chunk(3, dim=1)
    moving_BS = signs_BS * (slow_S + speed_BS * (fast_S - slow_S))
    resting_BS = sense_B1 * drift_S * (2 * drift_BS - 1)
    velocity_BS = torch.where(signs_BS != 0, moving_BS, resting_BS)
    time_T = (torch.arange(num_frames, device=seeds_B.device) - (num_frames - 1) / 2) / FPS_HZ
    states_BTS = torch.remainder(middle_BS[:, None] + velocity_BS[:, None] * time_T[:, None], 1.0)
    return torch.where(states_BTS < 1, states_BTS, 0.0)  # the remainder of a tiny negative number rounds to 1


def render(states_BTS: Tensor, seeds_B: Tensor, height_px: int, width_px: int) -> Tensor:
    """Draw the states: uint8 (B, T, H, W, 3), RGB. Shapes, colours and texture, which stay, follow from the seed."""
    return _paint(states_BTS, _draw_look(seeds_B), height_px, width_px)


def compiled_render() -> Callable[[Tensor, Tensor, int, int], Tensor]:
    """`render`, painting with torch.compile. The look is drawn outside: Triton 3.6 has no place for a constant of 64 bits."""
    paint = torch.compile(_paint, dynamic=False)
    return lambda states_BTS, seeds_B, height_px, width_px: paint(states_BTS, _draw_look(seeds_B), height_px, width_px)


def _draw_look(seeds_B: Tensor) -> Tensor:
    return _uniform(seeds_B, sum(_LOOK.values()), stream=1)


def _paint(states_BTS: Tensor, look_BN: Tensor, height_px: int, width_px: int) -> Tensor:
    look = dict(zip(_LOOK, look_BN.split(list(_LOOK.values()), dim=1), strict=True))
    canvas = _Canvas(height_px, width_px, states_BTS.device)
    frames_BTCHW = _background(canvas, states_BTS, look["tone"], look["waves"].unflatten(1, (_WAVES, 7)))
    for draw, name in ((_blob, "blob0"), (_blob, "blob1"), (_object, "object0"), (_object, "object1")):
        colour_BTC, alpha_BTHW = draw(canvas, states_BTS, look[name], name)
        frames_BTCHW = torch.lerp(frames_BTCHW, colour_BTC[..., None, None], alpha_BTHW[:, :, None])
    return (frames_BTCHW * 255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2).contiguous()


class _Canvas:
    """Pixel centres of a frame, and the torus around it, a little larger, on which texture and distractors drift."""

    def __init__(self, height_px: int, width_px: int, device: torch.device):
        self.width_px = width_px
        self.unit_px = float(height_px)
        self.period_x, self.period_y = width_px + height_px / 5, height_px + height_px / 5
        self.x_W = torch.arange(width_px, device=device) + 0.5
        self.y_H = torch.arange(height_px, device=device) + 0.5

    def offsets(self, x_BT: Tensor, y_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Distances in pixels of all columns and rows from points given in turns, the short way round the torus."""
        dx_BTW = torch.remainder(self.x_W / self.period_x - x_BT[..., None] + 0.5, 1.0) - 0.5
        dy_BTH = torch.remainder(self.y_H / self.period_y - y_BT[..., None] + 0.5, 1.0) - 0.5
        return dx_BTW * self.period_x, dy_BTH * self.period_y


def _background(canvas: _Canvas, states_BTS: Tensor, tone_B3: Tensor, waves_BKN: Tensor) -> Tensor:
    """A dark tone with a drifting texture, the sum of K plane waves: float (B, T, 3, H, W)."""
    # whole numbers of waves per torus, so that the drift wraps without a seam
    cycles_BK2 = torch.floor(waves_BKN[..., 0:2] * 9) - 4
    drift_BT2 = states_BTS[..., [_INDEX["background_x"], _INDEX["background_y"]]]
    turns_BTK = waves_BKN[:, None, :, 2] - (cycles_BK2[:, None] * drift_BT2[:, :, None]).sum(-1)
    grey_and_tint_BKC = 0.75 * (2 * waves_BKN[..., 3:4] - 1) + 0.4 * (2 * waves_BKN[..., 4:7] - 1)
    strength_BKC = 0.25 * grey_and_tint_BKC / (1.0 + cycles_BK2.norm(dim=-1, keepdim=True))
    # cos(a + b) = cos a cos b - sin a sin b: a matrix product instead of a cosine per pixel and wave
    across_BKW = 2 * math.pi * cycles_BK2[..., 0:1] * canvas.x_W / canvas.period_x
    down_BTKH = 2 * math.pi * (cycles_BK2[:, None, :, 1:2] * canvas.y_H / canvas.period_y + turns_BTK[..., None])
    columns_BJW = torch.cat([across_BKW.cos(), across_BKW.sin()], dim=1)
    rows_BTCHJ = torch.cat(
        [torch.einsum("bkc,btkh->btchk", strength_BKC, wave) for wave in (down_BTKH.cos(), -down_BTKH.sin())], dim=-1
    )
    texture_BTCHW = rows_BTCHJ @ columns_BJW[:, None, None]
    tone_B3 = _rgb(tone_B3[:, 0], 0.5 * tone_B3[:, 1], 0.15 + 0.2 * tone_B3[:, 2])
    return (tone_B3[:, None, :, None, None] + texture_BTCHW).clamp_(0, 1)


def _blob(canvas: _Canvas, states_BTS: Tensor, look_BN: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """A soft round distractor; every second clip has only one: colour (B, 1, 3) and alpha (B, T, H, W)."""
    hue_B, saturation_B, value_B, radius_B, present_B = look_BN.unbind(1)
    offsets = canvas.offsets(states_BTS[..., _INDEX[f"{name}_x"]], states_BTS[..., _INDEX[f"{name}_y"]])
    width_B11 = canvas.unit_px * (0.05 + 0.05 * radius_B)[:, None, None]
    opacity_B1 = 0.8 * (present_B > (0.5 if name == "blob1" else 0.0))[:, None, None, None]
    bell_x_BTW, bell_y_BTH = ((-0.5 * (offset / width_B11) ** 2).exp() for offset in offsets)
    alpha_BTHW = opacity_B1 * bell_y_BTH[..., None] * bell_x_BTW[..., None, :]
    return _rgb(hue_B, saturation_B, 0.3 + 0.5 * value_B)[:, None], alpha_BTHW


def _object(canvas: _Canvas, states_BTS: Tensor, look_BN: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """One of the two objects, three round strokes: colour (B, T, 3) and antialiased alpha (B, T, H, W)."""
    state = {key: states_BTS[..., index] for key, index in _INDEX.items()}
    state |= {key: _dwell(state[key]) for key in _JUMPING}
    shape_B, mirror_B, hue_B, saturation_B, angle_B = look_BN.unbind(1)
    size_BT = canvas.unit_px * 0.11 * 2.8 ** state["size"]
    stretch_BT = 1.7 ** (2 * state["stretch"] - 1)
    angle_BT11 = 2 * math.pi * (state["spin"] + angle_B[:, None])[..., None, None]
    strokes_B1KN = torch.tensor(_SHAPES, device=look_BN.device)[(shape_B * len(_SHAPES)).long()][:, None]
    mirror_B111 = torch.where(mirror_B < 0.5, -1.0, 1.0)[:, None, None, None]
    across, down = strokes_B1KN[..., 0:4:2], strokes_B1KN[..., 1:4:2] * mirror_B111
    ends_x_BTK2 = (across * angle_BT11.cos() - down * angle_BT11.sin()) * (size_BT * stretch_BT)[..., None, None]
    ends_y_BTK2 = (across * angle_BT11.sin() + down * angle_BT11.cos()) * (size_BT / stretch_BT)[..., None, None]
    radii_BTK = strokes_B1KN[..., 4] * size_BT[..., None]
    orbit_BT = 2 * math.pi * state["orbit"]
    side = -0.5 if name == "object0" else 0.5
    reach_BT = side * canvas.unit_px * (0.12 + 0.56 * state["gap"])
    x_BT = canvas.width_px * (0.29 + 0.42 * state["x"]) + reach_BT * orbit_BT.cos()
    y_BT = canvas.unit_px * (0.3 + 0.4 * state["y"]) + reach_BT * orbit_BT.sin()
    offsets = canvas.x_W - x_BT[..., None], canvas.y_H - y_BT[..., None]
    distances = [
        _stroke_distance(*offsets, ends_x_BTK2[:, :, k], ends_y_BTK2[:, :, k]) - radii_BTK[:, :, k, None, None]
        for k in range(strokes_B1KN.shape[2])
    ]
    distance_BTHW = torch.stack(distances).amin(0)
    opacity_BT = torch.stack([_fade(state[key]) for key in _JUMPING]).amin(0)
    alpha_BTHW = opacity_BT[..., None, None] * (0.5 - distance_BTHW).clamp_(0, 1)
    value_BT = 0.45 * 2.2 ** state["brightness"]
    return _rgb(hue_B[:, None] + state["hue"], (0.5 + 0.5 * saturation_B)[:, None], value_BT), alpha_BTHW


def _dwell(phase_BT: Tensor) -> Tensor:
    """Warp a turn so that it is slow half-way, by the factor 1 - _DWELL, and fast at the seam, by 1 + _DWELL."""
    return phase_BT + _DWELL / (2 * math.pi) * (2 * math.pi * phase_BT).sin()


def _fade(place_BT: Tensor) -> Tensor:
    """Opacity near the seam of a coordinate that jumps there: 0.5 at the seam, 1 from a 16th of the range on."""
    return 0.5 + 0.5 * (16 * torch.minimum(place_BT, 1 - place_BT)).clamp(0, 1)


def _stroke_distance(dx_BTW: Tensor, dy_BTH: Tensor, ends_x_BT2: Tensor, ends_y_BT2: Tensor) -> Tensor:
    """Distance in pixels of every pixel from the segment between two points: (B, T, H, W)."""
    ax, ay = ends_x_BT2[..., 0, None], ends_y_BT2[..., 0, None]
    bx, by = ends_x_BT2[..., 1, None] - ax, ends_y_BT2[..., 1, None] - ay
    px_BTW, py_BTH = dx_BTW - ax, dy_BTH - ay
    scale = (bx * bx + by * by).reciprocal()
    along_BTHW = ((px_BTW * bx * scale)[..., None, :] + (py_BTH * by * scale)[..., None]).clamp_(0, 1)
    rest_x = torch.addcmul(px_BTW[..., None, :], along_BTHW, bx[..., None], value=-1)
    rest_y = torch.addcmul(py_BTH[..., None], along_BTHW, by[..., None], value=-1)
    return torch.addcmul(rest_x.square_(), rest_y, rest_y).sqrt_()


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """HSV to RGB in a new last dimension; hue in turns."""
    sixth = torch.remainder(hue[..., None] * 6 + torch.tensor([5.0, 3.0, 1.0], device=hue.device), 6)
    dip = torch.minimum(sixth, 4 - sixth).clamp(0, 1)
    return value[..., None] * (1 - saturation[..., None] * dip)


def _uniform(seeds_B: Tensor, count: int, stream: int = 0) -> Tensor:
    """Return `count` float32 numbers in [0, 1) per int64 seed, (B, count): SplitMix64 of seed, stream and position.

    A hash needs no generator per clip and gives the same numbers on every device.
    """
    position = torch.arange(count, device=seeds_B.device) + stream * 2**20
    mixed = _splitmix64(_splitmix64(seeds_B)[:, None] + position * _signed(0x9E3779B97F4A7C15))
    return (mixed >> 40 & 0xFFFFFF).float() / 2**24


def _splitmix64(value: Tensor) -> Tensor:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014) on int64, whose products wrap like the unsigned ones."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        value = (value ^ (value >> shift & (1 << 64 - shift) - 1)) * _signed(factor)
    return value


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
