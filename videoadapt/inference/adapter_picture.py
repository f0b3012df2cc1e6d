"""What adapters changed, as one figure: blocks from left to right, and below them frames with the tokens that moved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from videoadapt.inference.adapter_effects import BlockEffect, Moved
from videoadapt.inference.explaining.heat import marked
from videoadapt.runs.drawing import save_png, shorten, wrapped
from videoadapt.runs.lettering import on_one_line

_DPI, _BLUE, _ORANGE = 150, "#1f5fa8", "#d9641e"
_FILM_LETTERS = 16  # as many as stand over a frame


def write_effects(path: Path, title: str, blocks: Sequence[BlockEffect], shown: Sequence[Moved]) -> None:
    """Write the figure as a PNG."""
    names = [on_one_line(one.video) for one in shown]
    save_png(path, lambda: _figure(title, blocks, shown, names), [title, *names])


def _figure(title: str, blocks: Sequence[BlockEffect], shown: Sequence[Moved], names: Sequence[str]) -> Figure:
    figure = Figure(figsize=(11, 5.2 if shown else 3.4), dpi=_DPI, layout="constrained")
    figure.suptitle(wrapped(title, 11, 11), fontsize=11, x=0.01, ha="left")
    rows = figure.subfigures(2 if shown else 1, 1, squeeze=False, height_ratios=[2, 1] if shown else None)
    above, *below = rows[:, 0]
    ratios, cka, trained = above.subplots(1, 3)
    numbers = range(len(blocks))
    places = list(dict.fromkeys(place for block in blocks for place in block.ratios))
    for place in places:
        there = [number for number in numbers if place in blocks[number].ratios]
        values = [float(np.median(blocks[number].ratios[place])) for number in there]
        ratios.plot(there, values, marker="o", label=f"{place}")
    ratios.margins(y=0.1)
    ratios.set(title="adapter / frozen branch, length", ylim=(0, None), xlim=(-0.5, len(blocks) - 0.5))
    if places:
        ratios.legend(frameon=False, fontsize=7)
    else:
        ratios.text(0.5, 0.5, "no adapter beside a branch", transform=ratios.transAxes, ha="center")
    cka.plot(numbers, [block.cka.value() for block in blocks], marker="o", color=_BLUE, label="CKA, before and after")
    cka.plot(
        numbers, [np.median(block.moved) for block in blocks], marker="o", color=_ORANGE, label="moved: 1 - cosine"
    )
    cka.set(title="tokens that leave the block", ylim=(0, None))
    cka.legend(frameon=False, fontsize=7)
    trained.bar(numbers, [block.trained for block in blocks], color=_BLUE)
    trained.set(title="trained parameters")
    for axes in (ratios, cka, trained):
        axes.set_xlabel("block")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    if shown:
        _frames(below[0].subplots(1, 2 * len(shown), squeeze=False)[0], shown, names)
    return figure


def _frames(row: Sequence[Any], shown: Sequence[Moved], names: Sequence[str]) -> None:
    """The middle frame of each clip, and the same with what moved most marked, from the clip's least to its most."""
    for number, (one, name) in enumerate(zip(shown, names, strict=True)):
        middle = len(one.clip_THWC) // 2
        frame_HWC, moved_thw = one.clip_THWC[middle], one.moved_thw
        at = moved_thw[middle * len(moved_thw) // len(one.clip_THWC)]
        spread = moved_thw.max() - moved_thw.min()
        scaled = torch.from_numpy((at - moved_thw.min()) / max(spread, 1e-12))[None, None].float()
        map_HW = F.interpolate(scaled, frame_HWC.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()
        row[2 * number].imshow(frame_HWC)
        row[2 * number].set_title(shorten(Path(name).name, _FILM_LETTERS), fontsize=7, loc="left")
        row[2 * number + 1].imshow(marked(frame_HWC, map_HW))
        row[2 * number + 1].set_title(f"moved {moved_thw.min():.2f} to {moved_thw.max():.2f}", fontsize=7, loc="left")
    for axes in row:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
