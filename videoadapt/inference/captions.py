"""What a model sees in a film, drawn on its frames as they run: the most probable classes of the moment, with bars.

Shapes: W windows, K classes, H W pixels.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from videoadapt.errors import DecodeError
from videoadapt.inference.videos import film_and_part
from videoadapt.runs.lettering import font_files, letters_of, on_one_line
from videoadapt.video.part import Part
from videoadapt.video.rewriting import container_of, redraw

if TYPE_CHECKING:
    from videoadapt.inference.predictor import Predictor

TEXT_SHARE, FEWEST_TEXT_PX = 0.055, 12  # of the short side: 13 pixels of 240, 119 of 2160
LEAST_SIDE_PX = 240  # of a film; a smaller one is written in larger pixels
PANEL_LETTERS = 20  # the panel is as wide as so many letters are high, or as the picture
BACK, BAR, TEXT = (0, 0, 0, 150), (46, 134, 222, 210), (255, 255, 255, 255)  # RGBA
ELIDED = "\u2026"


def annotate(
    predictor: "Predictor",
    film: str | Path,
    out: Path | None = None,
    gif: Path | None = None,
    top: int = 3,
    every_sec: float | None = None,
    window_sec: float | None = None,
) -> int:
    """Write the film with its `top` classes drawn on it as `out`, `gif`, or both; return the number of frames.

    Classes are those of the window whose middle is nearest (`Predictor.timeline`, of which `every_sec` and `window_sec` are
    arguments). Times and sound are the film's. Raises DecodeError for a film that cannot be read, and for a part of one.
    """
    path = whole_film(film, out)
    timeline = predictor.timeline(path, every_sec=every_sec, window_sec=window_sec, crops=1)
    captions = Captions(timeline.windows, timeline.values, predictor.class_names, top, out or gif or path)
    return redraw(path, captions.draw, out, gif, LEAST_SIDE_PX)


def whole_film(film: str | Path, out: Path | None) -> Path:
    """The film to be drawn on and written as `out`. Raises DecodeError for a part of one, ConfigError for no such container."""
    path, part = film_and_part(film)
    if part is not None:
        raise DecodeError(f"{film}: a part; films are drawn on as a whole, name {path}")
    if out is not None:
        container_of(out)
    return path


class Captions:
    """Draws of each moment the `top` most probable classes, from probabilities (W, K) of windows in their order."""

    def __init__(self, windows: Sequence[Part], values_WK: np.ndarray, names: Sequence[str], top: int, path: Path):
        """`path` is what is drawn for: a warning names it where no font has a letter of a name."""
        self._middles_W = np.array([(part.start_sec + part.end_sec) / 2 for part in windows])
        self._edges = (self._middles_W[1:] + self._middles_W[:-1]) / 2
        self._values_WK = values_WK
        self._names, self._top = [on_one_line(name) for name in names], min(top, len(names))
        self._files = font_files({letter for name in self._names for letter in name}, path)
        self._panel: tuple[tuple[int, int, int], np.ndarray] | None = None

    def draw(self, frame_HWC: np.ndarray, seconds: float) -> None:
        """Draw on the frame, at its lower left, what is seen at this moment."""
        height, width, _ = frame_HWC.shape
        key = int(np.searchsorted(self._edges, seconds)), height, width
        if self._panel is None or self._panel[0] != key:
            self._panel = key, self._render(*key)
        panel_HW4 = self._panel[1]
        rows, columns = panel_HW4.shape[:2]
        margin = max(0, min(round(0.02 * min(height, width)), height - rows, width - columns))
        place = frame_HWC[height - margin - rows : height - margin, margin : margin + columns]
        alpha = panel_HW4[..., 3:].astype(np.uint16)
        place[:] = (place * (255 - alpha) + panel_HW4[..., :3] * alpha + 127) // 255

    def _render(self, window: int, height: int, width: int) -> np.ndarray:
        """The panel of a window, uint8 RGBA."""
        text_px = max(FEWEST_TEXT_PX, round(TEXT_SHARE * min(height, width)))
        row_px, pad = round(1.4 * text_px), round(0.35 * text_px)
        columns, rows = min(width, PANEL_LETTERS * text_px), min(height, row_px * self._top)
        image = Image.new("RGBA", (columns, rows), BACK)
        pen, letters = ImageDraw.Draw(image), _Letters(self._files, text_px)
        probs_K = self._values_WK[window]
        for row, label in enumerate(np.argsort(-probs_K, kind="stable")[: self._top]):
            high = row * row_px
            pen.rectangle((0, high, round(columns * float(probs_K[label])), high + row_px - 2), fill=BAR)
            percent = f"{100 * probs_K[label]:.0f} %"
            right = columns - pad - letters.width(percent)
            letters.write(pen, right, high, row_px, percent)
            letters.write(pen, pad, high, row_px, letters.elided(self._names[label], right - 2 * pad))
        return np.asarray(image)


class _Letters:
    """Writes text of any script, each letter in the first of the fonts that has it."""

    def __init__(self, files: Sequence[str], text_px: int):
        self._fonts = [(_font(file, text_px), letters_of(file)) for file in files]

    def width(self, text: str) -> float:
        """In pixels."""
        return sum(font.getlength(part) for part, font in self._runs(text))

    def elided(self, text: str, width_px: float) -> str:
        """The text, or as much of its beginning as there is room for."""
        if self.width(text) <= width_px:
            return text
        while text and self.width(text + ELIDED) > width_px:
            text = text[:-1]
        return text + ELIDED

    def write(self, pen: ImageDraw.ImageDraw, left: float, high: int, row_px: int, text: str) -> None:
        """Write from `left` on, in the middle of a row."""
        base = high + 0.72 * row_px
        for part, font in self._runs(text):
            pen.text((left, base), part, font=font, fill=TEXT, anchor="ls")
            left += font.getlength(part)

    def _runs(self, text: str) -> list[tuple[str, FreeTypeFont]]:
        runs: list[tuple[str, FreeTypeFont]] = []
        for letter in text:
            font = next((font for font, letters in self._fonts if letter in letters), self._fonts[0][0])
            if runs and runs[-1][1] is font:
                runs[-1] = runs[-1][0] + letter, font
            else:
                runs.append((letter, font))
        return runs


@lru_cache(maxsize=32)
def _font(file: str, text_px: int) -> FreeTypeFont:
    return ImageFont.truetype(file, text_px)
