"""Masked video modelling without a model: which tokens are hidden, what is to be predicted of them, and back to pixels.

Shapes: B clips, C channels, T frames, H W pixels; N tokens (time, then height, then width), of which V are visible and
M masked; P pixels of a tubelet (time, height, width) times its channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from videoadapt.errors import ArgumentError

Tubelet = tuple[int, int, int]  # frames, height, width
_EPS = 1e-6
_CELL = 4  # patches of a running cell, and so the tokens in time until it is where it began


class Mask(NamedTuple):
    """Token numbers of each clip, ascending, int64: what the encoder sees, and what the decoder predicts.

    `counted_BM`, bool: which predictions the loss counts; None: all.
    """

    visible_BV: Tensor
    predicted_BM: Tensor
    counted_BM: Tensor | None = None

    def to(self, device: torch.device) -> "Mask":
        """Return the mask on a device."""
        visible_BV, predicted_BM = (part.to(device, non_blocking=True) for part in self[:2])
        counted_BM = None if self.counted_BM is None else self.counted_BM.to(device, non_blocking=True)
        return Mask(visible_BV, predicted_BM, counted_BM)


def num_masked_patches(grid_THW: tuple[int, int, int], ratio: float) -> int:
    """How many patches of a frame are hidden: int(ratio * H * W), as in VideoMAE's code.

    Raises ArgumentError when that hides none, or all.
    """
    patches = grid_THW[1] * grid_THW[2]
    masked = int(ratio * patches)
    if not 0 < masked < patches:
        raise ArgumentError(
            "tube masking",
            f"mask_ratio = {ratio}: hides {masked} of the {patches} patches of a frame ({grid_THW[1]} x {grid_THW[2]}); some "
            "need to be hidden and some to stay: another ratio, a larger crop or smaller patches",
        )
    return masked


def draw_tubes(size: int, grid_THW: tuple[int, int, int], ratio: float, generator: torch.Generator) -> Mask:
    """Hide the same patches in all frames of a clip (tube masking, VideoMAE, section 3.3), others in each clip.

    Raises ArgumentError when the ratio hides nothing or everything.
    """
    masked = num_masked_patches(grid_THW, ratio)
    patches = grid_THW[1] * grid_THW[2]
    order_BS = torch.rand(size, patches, generator=generator).argsort(dim=1)
    first_T1 = torch.arange(grid_THW[0])[:, None] * patches

    def tokens(patches_BS: Tensor) -> Tensor:
        return (first_T1 + patches_BS.sort(dim=1).values[:, None]).flatten(1)

    return Mask(tokens(order_BS[:, masked:]), tokens(order_BS[:, :masked]))


def num_left_out(grid_THW: tuple[int, int, int], ratio: float) -> int:
    """How many of the four patches of a running cell are left out: 4 * ratio.

    Raises ArgumentError for a ratio that leaves out another number than 1, 2 or 3, and for a grid that no cells cover.
    """
    left_out = 4 * ratio
    problems = []
    if left_out not in (1, 2, 3):
        problems.append(
            f"decoder_mask_ratio = {ratio}: of the 4 patches of a cell, 1, 2 or 3 are left out: 0.25, 0.5 or 0.75"
        )
    if grid_THW[0] < _CELL or grid_THW[1] % 2 or grid_THW[2] % 2:
        problems.append(
            f"decoder_mask_ratio = {ratio}: cells of 2 x 2 patches run through {_CELL} times, which the clip's tokens, "
            f"{' x '.join(map(str, grid_THW))} (time, height, width), have no room for: more frames, or even numbers of patches"
        )
    if problems:
        raise ArgumentError("running cells", problems)
    return int(left_out)


def run_cells(mask: Mask, grid_THW: tuple[int, int, int], ratio: float, generator: torch.Generator) -> Mask:
    """Predict only the patches that running cells keep (VideoMAE V2, arXiv 2303.16727, section 3.2, and its code).

    In every cell of 2 x 2 patches the ones left out move on by one with each token in time, from a start that is drawn for each
    clip. As in that code, what is kept is predicted also where the encoder sees it, and the loss counts the rest alone.
    Raises ArgumentError as `num_left_out`.
    """
    left_out = num_left_out(grid_THW, ratio)
    start_B1 = torch.randint(_CELL, (len(mask.visible_BV), 1), generator=generator)
    time, row, column = torch.meshgrid(*map(torch.arange, grid_THW), indexing="ij")
    place_N = (time + 2 * (row % 2) + column % 2).flatten()
    kept_BN = (place_N + start_B1) % _CELL >= left_out
    predicted_BM = kept_BN.nonzero()[:, 1].view(len(start_B1), -1)  # of every cell, in every frame, equally many
    hidden_BN = torch.ones_like(kept_BN).scatter(1, mask.visible_BV, False)
    return Mask(mask.visible_BV, predicted_BM, hidden_BN.gather(1, predicted_BM))


def pick(x_BND: Tensor, tokens_BM: Tensor) -> Tensor:
    """Return the named tokens of each clip, (B, M, D)."""
    return x_BND.gather(1, tokens_BM[..., None].expand(-1, -1, x_BND.shape[2]))


def tubelets(clip_BCTHW: Tensor, tubelet: Tubelet) -> Tensor:
    """Cut a clip into tubelets: (B, N, P * C), channels last, as VideoMAE's decoder predicts them."""
    batch, channels, frames, height, width = clip_BCTHW.shape
    t, h, w = tubelet
    cut = clip_BCTHW.reshape(batch, channels, frames // t, t, height // h, h, width // w, w)
    return cut.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(1, 3)


def join_tubelets(x_BNP: Tensor, tubelet: Tubelet, grid_THW: tuple[int, int, int]) -> Tensor:
    """Put tubelets (B, N, P * C) together again: (B, C, T, H, W)."""
    cut = x_BNP.unflatten(2, (*tubelet, -1)).unflatten(1, grid_THW)
    clip = cut.permute(0, 7, 1, 4, 2, 5, 3, 6)
    return clip.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def statistics(x_BNP: Tensor, num_channels: int = 3) -> tuple[Tensor, Tensor]:
    """Mean and scale of each tubelet and channel, (B, N, 1, C): what the target is normalised by.

    The scale is the square root of the unbiased variance, plus 1e-6 (VideoMAE's code).
    """
    pixels_BNPC = x_BNP.unflatten(2, (-1, num_channels))
    variance, mean = torch.var_mean(pixels_BNPC, dim=2, keepdim=True, correction=1)
    return mean, variance.sqrt() + _EPS


def normalised_target(x_BNP: Tensor, num_channels: int = 3) -> Tensor:
    """Tubelets of pixels in [0, 1] -> the same shape, with mean 0 and variance 1 in every tubelet and channel."""
    mean, scale = statistics(x_BNP, num_channels)
    return ((x_BNP.unflatten(2, (-1, num_channels)) - mean) / scale).flatten(2)
