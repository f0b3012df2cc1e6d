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


@pytest.mark.parametrize(("width", "bar"), [(80, False), (120, True)])
def test_a_narrow_terminal_shows_the_numbers(width: int, bar: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns the total and the time left were cut, for a bar of five letters."""
    screen = io.StringIO()
    monkeypatch.setattr(log, "console", Console(file=screen, force_terminal=True, width=width, color_system=None))
    monkeypatch.setattr(log.sys.stderr, "isatty", lambda: True, raising=False)
    with log.progress("train", 2125, "steps") as line:
        line.advance("loss 0.007  top-1 100.0 %  lr 0.00022  6 clips/s  and more than there is room for", 1208)
        if line._bar:
            line._bar.refresh()
    shown = screen.getvalue()
    assert "1208/2125 steps" in shown and "loss 0.007  top-1 100.0 %  lr 0.00022" in shown
    assert ("\u2501" in shown) is bar and max(map(len, shown.replace("\r", "\n").splitlines())) < width + 20


def _shown_left(monkeypatch: pytest.MonkeyPatch, start: int, took_sec: list[float]) -> list[str]:
    """What a bar of 1,000 steps says of the time left after each of some that took so long."""
    now = [0.0]
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None, get_time=lambda: now[0])
    monkeypatch.setattr(log, "console", console)
    monkeypatch.setattr(log.sys.stderr, "isatty", lambda: True, raising=False)
    shown = []
    with log.progress("train", 1000, "steps") as line:
        assert line._bar is not None
        line.start_at(start)
        for sec in took_sec:
            now[0] += sec
            line.advance()
            shown.append(str(line._bar.columns[-2](line._bar.tasks[0])))
    return shown


@pytest.mark.parametrize("start", [0, 500])
def test_plain_lines_leave_the_first_step_out_too(
    start: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After the first of 20,000 videos, which waited for the readers to start, 108 hours seemed to be left."""
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(log, "console", Console(file=io.StringIO()))
    with caplog.at_level("INFO"), log.progress("test", 20_000, "videos") as line:
        line.start_at(start)
        for sec, count in ((20.0, 1), (15.0, 30)):
            now[0] += sec
            line.advance(count=count)
    left = "2.8 h" if start == 0 else "2.7 h"
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"test {start + 1}/20000 videos  ", f"test {start + 31}/20000 videos    {left} left"]


@pytest.mark.parametrize("start", [0, 500])
def test_the_time_left_leaves_the_first_step_out(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It brings the start-up with it; after a resume it counted, and the time left was that of 499 such steps."""
    first, second = _shown_left(monkeypatch, start, [60.0, 1.0])
    assert first == "-:--:--" and second == ("0:16:38" if start == 0 else "0:08:18")


def test_steps_of_a_minute_have_a_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich goes by the last 30 seconds, in which there is no second step; as the cells of a sweep, or films."""
    assert _shown_left(monkeypatch, 0, [60.0, 60.0, 60.0])[-1] == "16:37:00"


def test_nothing_to_do_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(log, "console", Console(file=screen, force_terminal=True))
    monkeypatch.setattr(log.sys.stderr, "isatty", lambda: True, raising=False)
    with log.progress("compare", 0, "files of equal size"):
        pass
    assert not screen.getvalue()
