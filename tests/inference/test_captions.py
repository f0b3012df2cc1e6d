"""The panel on an annotated film: where it lies, what it says, and when."""

from pathlib import Path

import numpy as np
import pytest

from videoadapt.inference.captions import BAR, Captions
from videoadapt.video.part import Part

WINDOWS = [Part(0, 1), Part(0.5, 1.5), Part(1, 2)]
NAMES = ["first", "a very long name of a class, longer than there is room for on its row", "Größe", "летать"]
VALUES_WK = np.array([[0.75, 0.2, 0.05, 0.0], [0.25, 0.7, 0.05, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype=np.float32)


def drawn(seconds: float, height: int, width: int, level: int = 90) -> np.ndarray:
    frame_HWC = np.full((height, width, 3), level, np.uint8)
    Captions(WINDOWS, VALUES_WK, NAMES, 3, Path("x.mp4")).draw(frame_HWC, seconds)
    return frame_HWC


@pytest.mark.parametrize(("height", "width"), [(240, 320), (2160, 3840), (1920, 1080), (30, 20)])
def test_the_panel_is_in_proportion(height: int, width: int) -> None:
    changed = (drawn(0.0, height, width) != 90).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert rows[-1] >= 0.97 * height - 1 and columns[0] <= 0.02 * height + 1
    if height >= 240:
        # three rows of letters of a twentieth of the short side
        assert 0.2 < (rows[-1] - rows[0] + 1) / min(height, width) < 0.27
        assert changed[: height // 2].sum() == 0


def test_bars_and_letters(log_lines: list[str]) -> None:
    frame_HWC = drawn(0.0, 480, 640, level=0)
    changed = (frame_HWC > 0).any(axis=2)
    bar = np.array(BAR[:3]) * BAR[3] // 255
    lengths = [(np.abs(row.astype(int) - bar).max(axis=1) <= 2).sum() for row in frame_HWC]
    panel_px = 20 * round(0.055 * 480)
    assert max(lengths) == pytest.approx(0.75 * panel_px, abs=2) and changed.any()
    letters = (frame_HWC.min(axis=2) > 200).sum(axis=1)
    assert (letters > 0).sum() > 30 and not log_lines  # every letter has a font


def test_the_nearest_window_speaks() -> None:
    at = {seconds: drawn(seconds, 240, 320) for seconds in (0.0, 0.7, 0.8, 1.2, 1.3, 9.0)}
    assert np.array_equal(at[0.0], at[0.7]) and np.array_equal(at[0.8], at[1.2]) and np.array_equal(at[1.3], at[9.0])
    assert not np.array_equal(at[0.7], at[0.8]) and not np.array_equal(at[1.2], at[1.3])


def test_letters_without_a_font_are_said(log_lines: list[str]) -> None:
    names = ["\U000f0000 x", "y", "z"]  # a private place, where no font has a letter
    Captions(WINDOWS[:1], np.ones((1, 3)) / 3, names, 3, Path("x.mp4"))
    assert not log_lines or "x.mp4: no font" in log_lines[0]
