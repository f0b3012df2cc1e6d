"""Class names in pictures: mathematics, brackets and scripts are letters, and a font is found for them where there is one."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.image import imread

from videoadapt import logger
from videoadapt.runs import lettering as lettering_module
from videoadapt.runs.confusion import plot_confusion, write_per_class
from videoadapt.runs.lettering import in_a_sentence, lettering, on_one_line
from videoadapt.sweeps.plot import Point, plot

NAMES = ["grow_$\\frac$", "$", "a $x^2$ b", "<b>&amp;</b>", "back\\slash", "tab\there", "%s {0} [red]", "_ ^ ~ #"]
LETTER = "\u65e5"  # of no font that comes with matplotlib


def picture(names: list[str], path: Path) -> np.ndarray:
    labels_N = np.arange(len(names))
    plot_confusion(labels_N, labels_N, names, path)
    return np.asarray(imread(path))


def test_names_are_spelled_and_not_calculated(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = picture(NAMES, tmp_path / "c.png")
        assert not np.array_equal(shown, picture([name.replace("$", "") for name in NAMES], tmp_path / "d.png"))
    labels_N = np.arange(len(NAMES))
    write_per_class(labels_N, labels_N, labels_N * 0, NAMES, tmp_path / "per_class.csv")
    assert NAMES[0] in (tmp_path / "per_class.csv").read_text(encoding="utf-8")


def test_settings_of_a_sweep_are_spelled(tmp_path: Path) -> None:
    order = {"m": ["$\\frac$", "[a]"], "data.root": ["$x"]}
    points = [Point({"m": label, "data.root": "$x"}, 10**n, (50.0,)) for n, label in enumerate(order["m"], start=1)]
    plot(points, order, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_letters_that_are_not_to_be_seen_are_spelled_out() -> None:
    assert on_one_line("a\tb\nc\x1b[31m\u2028 \u65e5\u672c") == "a\\tb\\nc\\x1b[31m\\u2028 \u65e5\u672c"


def test_letters_from_right_to_left_turn_nothing_beside_them() -> None:
    """Between marks of Unicode, a number behind such a name stays behind it."""
    assert (
        in_a_sentence("\u062a\u062d") == "\u2068\u062a\u062d\u2069"
        and in_a_sentence("a \u05d1") == "\u2068a \u05d1\u2069"
    )
    assert in_a_sentence("\u65e5\tcafe\u0301") == "\u65e5\\tcafe\u0301"
    assert in_a_sentence("a\u202e\u05d1") == "\u2068a\\u202e\u05d1\u2069"  # a mark in the name itself is spelled out


def make_font(path: Path) -> None:
    """A font that has one letter, a full square."""
    pen = TTGlyphPen(None)
    for move, corner in (
        (pen.moveTo, (0, 0)),
        (pen.lineTo, (0, 900)),
        (pen.lineTo, (900, 900)),
        (pen.lineTo, (900, 0)),
    ):
        move(corner)
    pen.closePath()
    square = pen.glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "square"])
    font.setupCharacterMap({ord(LETTER): "square"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": square})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "One Square", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


def test_a_font_that_has_the_letters_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was installed after matplotlib wrote its list of fonts."""
    monkeypatch.setattr(logger, "propagate", True)
    make_font(tmp_path / "square.ttf")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "square.ttf")])
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    usual, other = lettering_module.font_files({LETTER, "a"}, tmp_path / "with.png")
    assert other == str(tmp_path / "square.ttf") and "DejaVu" in usual
    found = picture([LETTER * 3, "b"], tmp_path / "with.png")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    monkeypatch.setattr(
        font_manager.fontManager, "ttflist", [f for f in font_manager.fontManager.ttflist if f.name != "One Square"]
    )
    assert not np.array_equal(found, picture([LETTER * 3, "b"], tmp_path / "without.png"))


def test_letters_of_no_font_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    nowhere = "\U000f0000"  # for private use: no font has it; printable letters of scripts may be on this machine
    monkeypatch.setattr(lettering_module, "letters_of", lambda path: set(map(chr, range(32, 127))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture([f"{LETTER}\u672c", "b"], tmp_path / "c.png")
    (line,) = log_lines
    assert f"c.png: no font on this machine has {LETTER} and 1 more" in line and "fonts-noto-cjk" in line
    assert nowhere not in line


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("\u9006\u65f6\u9488", "fonts-noto-cjk"),
        ("\u30ab\u30e1\u30e9\u3092", "fonts-noto-cjk"),
        ("\uc190 \ud754", "fonts-noto-cjk"),
        ("\u0939\u093e\u0925 \u0e42\u0e1a\u0e01", "fonts-noto-core"),
        ("\u65e5 \u062a\u062d e\u0301", "fonts-noto-cjk and fonts-noto-core"),
        ("\U0001f3c3", "fonts-symbola"),
    ],
)
def test_the_font_to_install_is_that_of_the_script(
    name: str, packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    monkeypatch.setattr(lettering_module, "letters_of", lambda path: set(map(chr, range(32, 127))))
    lettering_module.font_files(set(name), tmp_path / "c.png")
    (line,) = log_lines
    assert line.endswith(f"such as {packages} of Debian and Ubuntu")


def test_the_users_own_settings_do_not_matter(tmp_path: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"text.usetex": True}), lettering(["a"], tmp_path / "c.png"):
        assert not mpl.rcParams["text.usetex"] and not mpl.rcParams["text.parse_math"]
