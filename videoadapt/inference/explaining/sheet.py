"""A contact sheet: the frames of each clip, what is marked in them below, and of several a bar of how much of it is in each.

Shapes: N clips, T frames, H W pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from videoadapt.inference.explaining.heat import marked
from videoadapt.runs.drawing import save_png, wrapped

_DPI, _FRAME_INCH = 150, 1.1
_MOST_FRAMES = 16  # in a row; of more, evenly spread ones
_RED, _GREY = "#c5351b", "#8a8f98"


def write_sheet(
    path: Path, title: str, clips_NTHWC: np.ndarray, maps_NTHW: np.ndarray, moments: Sequence[Sequence[str]]
) -> None:
    """Write the sheet as a PNG; `moments`: what stands above each frame of each clip."""
    save_png(path, lambda: _figure(title, clips_NTHWC, maps_NTHW, moments), [title])


def _figure(title: str, clips_NTHWC: np.ndarray, maps_NTHW: np.ndarray, moments: Sequence[Sequence[str]]) -> Figure:
    num_clips, num_frames, height, width, _ = clips_NTHWC.shape
    shown = np.linspace(0, num_frames - 1, min(num_frames, _MOST_FRAMES)).round().astype(int)
    tall_inch = _FRAME_INCH * height / width
    columns_inch = max(_FRAME_INCH * len(shown), 4.0)
    wide_inch = columns_inch + 0.5
    figure = Figure(figsize=(wide_inch, num_clips * (2 * tall_inch + 0.75) + 0.5), dpi=_DPI, layout="constrained")
    figure.suptitle(wrapped(title, wide_inch, 10), fontsize=10, x=0.01, ha="left")
    heights = [1, 1, 0.3] if num_frames > 1 else [1, 1]  # all marks of a picture are in it
    rows = figure.subplots(len(heights) * num_clips, len(shown), squeeze=False, height_ratios=heights * num_clips)
    share_NT = _shares(maps_NTHW)
    for clip in range(num_clips):
        seen, looked, *bars = rows[len(heights) * clip : len(heights) * (clip + 1)]
        for column, frame in enumerate(shown):
            picture, map_HW = clips_NTHWC[clip, frame], maps_NTHW[clip, frame]
            seen[column].imshow(picture)
            seen[column].set_title(moments[clip][frame], fontsize=7, pad=2)
            looked[column].imshow(marked(picture, map_HW))
            for bar in bars:
                bar[column].bar([0], [share_NT[clip, frame]], width=0.8, color=_RED)
                bar[column].set(xlim=(-0.5, 0.5), ylim=(0, max(share_NT.max(), 1e-9)))
        for row, name in zip((seen, looked, *bars), ("seen", "marked", "when"), strict=False):
            row[0].set_ylabel(name, fontsize=7, color=_GREY)
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def _shares(maps_NTHW: np.ndarray) -> np.ndarray:
    """How much of all marks is in each frame of each clip, (N, T)."""
    means_NT = maps_NTHW.mean((2, 3))
    return np.asarray(means_NT / max(means_NT.sum(), 1e-12))
