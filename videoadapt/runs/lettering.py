"""Names in pictures as they are spelled: no mathematics between `$` and `$`, and letters of any script that a font has."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from videoadapt import logger

_SPELLED: Any = {"text.parse_math": False, "text.usetex": False}  # whatever the user's matplotlibrc says
_NO_LETTERS = "LastResort"  # a font of boxes that names every script


@contextmanager
def lettering(names: Iterable[str], path: Path) -> Iterator[None]:
    """Draw and save the picture `path`, on which these names stand, in the block.

    Letters that the usual font does not have are taken from another one on this machine; a warning tells of those that no
    font has, which are boxes on the picture.
    """
    wanted = {letter for name in names for letter in name if letter.isprintable()}
    families, missing = _fonts_with(wanted)
    if missing:
        logger.warning(
            "%s: no font on this machine has %s and %d more letters of the names, which are boxes there; install one that has, "
            "such as fonts-noto-cjk of Debian and Ubuntu",
            path, min(missing), len(missing) - 1,
        )  # fmt: skip
    with (
        mpl.rc_context({**_SPELLED, "font.family": [*mpl.rcParams["font.family"], *families]}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said above, once
        yield


def on_one_line(name: str) -> str:
    """The name with tabs and other letters that are not to be seen spelled out, as Python does."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def _fonts_with(wanted: set[str]) -> tuple[list[str], set[str]]:
    """Families that together have most of these letters, besides the usual font, and the letters that none has."""
    missing = wanted - _letters(font_manager.findfont(font_manager.FontProperties()))
    families: list[str] = []
    if not missing:
        return families, missing
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    letters = {path: _letters(path) for path in sorted(known | set(font_manager.findSystemFonts()))}
    while missing:
        best = max(letters, key=lambda path: len(letters[path] & missing))
        if not letters[best] & missing:
            break
        missing -= letters[best]
        if best not in known:  # installed after matplotlib has looked around
            font_manager.fontManager.addfont(best)
        families += [entry.name for entry in font_manager.fontManager.ttflist if entry.fname == best][:1]
    return families, missing


def _letters(path: str) -> set[str]:
    if _NO_LETTERS in path:
        return set()
    try:
        return set(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that is damaged or of a kind that matplotlib cannot read
        return set()
