"""What the terminal shows: names with brackets and colons are names, and no markup."""

import io

import pytest
from rich.console import Console

from videoadapt import log


def test_names_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    names = ["[/red] [b]x[/b]", "a:smile:b", "$x$ <i>"]
    monkeypatch.setattr(log.console, "_file", screen)
    log.show_table("[t]", ["name", "n"], [[name, "1"] for name in names])
    assert all(name in screen.getvalue() for name in ["[t]", *names])


def test_a_progress_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that is markup by chance ended the program with rich's error."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, markup=False, emoji=False)
    monkeypatch.setattr(log, "console", console)
    monkeypatch.setattr(log.sys.stderr, "isatty", lambda: True, raising=False)
    with log.progress("sweep [/b]", 1, "cells") as line:
        line.advance("method [/red] :smile:")
        if line._bar:
            line._bar.refresh()
    assert "method [/red] :smile:" in screen.getvalue() and "sweep [/b]" in screen.getvalue()
