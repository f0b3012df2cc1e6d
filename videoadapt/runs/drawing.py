"""Figures into PNG files, with the names that stand on them as they are spelled."""

import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from videoadapt.files import write_atomically
from videoadapt.runs.lettering import lettering

SCORE_TITLES = {"top1": "Top-1 accuracy", "mAP": "Mean average precision"}  # what runs are judged by
_LONGEST_NAME = 36


def save_png(path: Path, draw: Callable[[], Figure], names: Iterable[str] = (), *, cropped: bool = False) -> None:
    """Write the figure that `draw` makes; `names`: those that stand on it. `cropped`: to what is on it."""
    with lettering(names, path):
        figure = draw()
        canvas = FigureCanvasAgg(figure)
        box: Bbox | str | None = "tight" if cropped else None
        if cropped and figure.get_layout_engine() is None:  # the same, without drawing it twice
            box = figure.get_tightbbox(canvas.get_renderer()).padded(mpl.rcParams["savefig.pad_inches"])
        write_atomically(path, lambda partial: figure.savefig(partial, format="png", bbox_inches=box))


def shorten(name: str, letters: int = _LONGEST_NAME) -> str:
    """A name of about so many letters at most, and its middle as an ellipsis."""
    half = letters // 2  # long names often differ only at the end: keep both ends
    return name if len(name) <= letters else f"{name[:half].rstrip()}…{name[-half:].lstrip()}"


def wrapped(title: str, width_inch: float, size_pt: float) -> str:
    """A title on as many lines as it needs in a figure so wide: a letter is some 0.6 of the size wide."""
    return textwrap.fill(title, int(width_inch * 72 / (0.6 * size_pt)))
