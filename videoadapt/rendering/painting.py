"""The states of a clip as pixels: two objects of three strokes each, two soft distractors, and a drifting texture.

Shapes: B clips, T frames, S coordinates, N random numbers, K waves or strokes, C colours, H W pixels.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from videoadapt.rendering.motions import COORDINATES
from videoadapt.rendering.noise import uniform

_INDEX = {name: index for index, name in enumerate(COORDINATES)}
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


def render(states_BTS: Tensor, seeds_B: Tensor, height_px: int, width_px: int) -> Tensor:
    """Draw the states: uint8 (B, T, H, W, 3), RGB. Shapes, colours and texture, which stay, follow from the seed."""
    return _paint(states_BTS, _draw_look(seeds_B), height_px, width_px)


def compiled_render() -> Callable[[Tensor, Tensor, int, int], Tensor]:
    """`render`, painting with torch.compile. The look is drawn outside: Triton 3.6 has no place for a constant of 64 bits."""
    paint = torch.compile(_paint, dynamic=False)
    return lambda states_BTS, seeds_B, height_px, width_px: paint(states_BTS, _draw_look(seeds_B), height_px, width_px)


def shapes_of(seeds_B: Tensor) -> Tensor:
    """Which of the four shapes each of the two objects of a clip has: int64 (B, 2)."""
    look = dict(zip(_LOOK, _draw_look(seeds_B).split(list(_LOOK.values()), dim=1), strict=True))
    return torch.stack([_shape(look[name][:, 0]) for name in ("object0", "object1")], dim=1)


def _shape(drawn_B: Tensor) -> Tensor:
    return (drawn_B * len(_SHAPES)).long()


def _draw_look(seeds_B: Tensor) -> Tensor:
    return uniform(seeds_B, sum(_LOOK.values()), stream=1)


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
    strokes_B1KN = torch.tensor(_SHAPES, device=look_BN.device)[_shape(shape_B)][:, None]
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
