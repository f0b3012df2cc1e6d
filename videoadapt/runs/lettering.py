"""Names in pictures as they are spelled: no mathematics between `$` and `$`, and letters of any script that a font has."""

import unicodedata
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
    files = font_files({letter for name in names for letter in name}, path)[1:]
    families = [entry.name for file in files for entry in font_manager.fontManager.ttflist if entry.fname == file]
    with (
        mpl.rc_context({**_SPELLED, "font.family": [*mpl.rcParams["font.family"], *families]}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said above, once
        yield


def on_one_line(name: str) -> str:
    """The name with tabs and other letters that are not to be seen spelled out, as Python does."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def in_a_sentence(name: str) -> str:
    """The name on one line; one with letters that run from right to left leaves the order of what stands beside it as it is."""
    name = on_one_line(name)
    turns = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name)
    return f"\u2068{name}\u2069" if turns else name


def font_files(letters: Iterable[str], path: Path) -> list[str]:
    """The usual font, and as many others of this machine as it takes to have these letters, in the order of their use.

    A warning that names the picture `path` tells of letters that none has.
    """
    files: list[str] = [font_manager.findfont(font_manager.FontProperties())]
    missing = {letter for letter in letters if letter.isprintable()} - letters_of(files[0])
    if not missing:
        return files
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    candidates = {file: letters_of(file) for file in sorted(known | set(font_manager.findSystemFonts()))}
    while missing:
        best = max(candidates, key=lambda file: len(candidates[file] & missing))
        if not candidates[best] & missing:
            break
        missing -= candidates[best]
        if best not in known:  # installed after matplotlib has looked around
            font_manager.fontManager.addfont(best)
        files.append(best)
    if missing:
        logger.warning(
            "%s: no font on this machine has %s and %d more letters of the names, which are boxes there; install one that has, "
            "such as %s of Debian and Ubuntu",
            path, min(missing), len(missing) - 1, " and ".join(sorted({_package_of(letter) for letter in missing})),
        )  # fmt: skip
    return files


def _package_of(letter: str) -> str:
    """The package of Debian that has a font for the letter's script."""
    name = unicodedata.name(letter, "")
    if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(letter) in ("So", "Sk") else "fonts-noto-core"


def letters_of(file: str) -> set[str]:
    """The letters that a font file has; none of one that is damaged, or of a kind that matplotlib cannot read."""
    if _NO_LETTERS in file:
        return set()
    try:
        return set(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):
        return set()
