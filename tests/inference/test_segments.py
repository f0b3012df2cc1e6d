"""Timelines to segments on probabilities that are written down, and the files of one film."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from videoadapt.errors import ConfigError
from videoadapt.inference.answers import Answers
from videoadapt.inference.segments import Cut, Segment, bounds, segments_of, smoothed
from videoadapt.inference.timeline_files import _figure, plot_timeline, write_detections, write_timeline
from videoadapt.inference.windows import Timeline
from videoadapt.video.windows import spread_windows

PLAIN = {"smooth_sec": 0.0, "least_sec": 0.0}


def timeline(*probs_of_a: float, others: list[list[float]] | None = None) -> Timeline:
    """Windows of 2 s, 1 s apart; the second class has what the first one leaves, unless `others` are given."""
    columns = [list(probs_of_a), *(others or [[1 - p for p in probs_of_a]])]
    end_sec = len(probs_of_a) + 1.0
    windows = spread_windows(0.0, end_sec, 2.0, 1.0)
    assert len(windows) == len(probs_of_a)
    return Timeline(
        "film.mp4",
        windows,
        np.array(columns, dtype=np.float32).T,
        0.0,
        end_sec,
        2.0,
        1.0,
        25.0,
        int(25 * end_sec),
        None,
    )


def answers(labels: str = "single", thresholds: list[float] | None = None, num_classes: int = 2) -> Answers:
    return Answers(["a", "b", "c"][:num_classes], labels, "logits", thresholds)  # type: ignore[arg-type]


def cut(found: list[Segment]) -> list[tuple[float, float, str]]:
    return [(s.start_sec, s.end_sec, s.name) for s in found]


def test_each_window_speaks_for_the_film_round_its_middle() -> None:
    film = timeline(1.0, 1.0, 0.0, 0.0)
    assert bounds(film).tolist() == [0.0, 1.5, 2.5, 3.5, 5.0]
    assert cut(segments_of(film, answers(), Cut(**PLAIN))) == [(0.0, 2.5, "a"), (2.5, 5.0, "b")]


def test_smoothing_is_a_mean_round_the_middle() -> None:
    film = timeline(1.0, 0.0, 0.0, 1.0, 1.0)
    np.testing.assert_allclose(smoothed(film, 2.0)[:, 0], [1 / 2, 1 / 3, 1 / 3, 2 / 3, 1])
    np.testing.assert_array_equal(smoothed(film, 0.0), film.values)
    np.testing.assert_array_equal(smoothed(film), smoothed(film, 2.0))  # as long as a window


def test_hysteresis_needs_a_peak_and_holds_above_off() -> None:
    low = [0.1] * 8
    film = timeline(0.2, 0.4, 0.6, 0.4, 0.2, 0.4, 0.4, 0.2, others=[low])
    found = segments_of(film, answers(), Cut(on=0.5, off=0.3, **PLAIN))
    assert cut(found) == [(1.5, 4.5, "a")]  # the second rise never reaches 0.5: nothing is there
    assert found[0].confidence == pytest.approx((0.4 + 0.6 + 0.4) / 3)
    assert cut(segments_of(film, answers(), Cut(on=0.5, off=0.5, **PLAIN))) == [(2.5, 3.5, "a")]
    assert segments_of(film, answers(), Cut(on=0.7, **PLAIN)) == []
    backwards = timeline(*[0.2, 0.4, 0.4, 0.2, 0.4, 0.6, 0.4, 0.2], others=[low])
    mirrored = [(9 - end, 9 - start, name) for start, end, name in cut(segments_of(backwards, answers(), Cut(**PLAIN)))]
    assert mirrored == cut(segments_of(film, answers(), Cut(**PLAIN)))  # time has no direction here


def test_a_flicker_goes_to_the_class_round_it() -> None:
    film = timeline(0.9, 0.9, 0.35, 0.9, 0.9)
    whole = Cut(on=0.5, off=0.3, smooth_sec=0.0, least_sec=1.5)
    assert cut(segments_of(film, answers(), whole)) == [(0.0, 6.0, "a")]
    gone = Cut(on=0.5, off=0.4, smooth_sec=0.0, least_sec=1.5)  # there a itself is below off
    assert cut(segments_of(film, answers(), gone)) == [(0.0, 2.5, "a"), (3.5, 6.0, "a")]


def test_several_labels_overlap_and_have_their_thresholds() -> None:
    film = timeline(0.9, 0.9, 0.9, 0.1, others=[[0.1, 0.4, 0.4, 0.4]])
    assert cut(segments_of(film, answers("multi", [0.5, 0.3]), Cut(**PLAIN))) == [(0.0, 3.5, "a"), (1.5, 5.0, "b")]
    assert cut(segments_of(film, answers("multi"), Cut(**PLAIN))) == [(0.0, 3.5, "a")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"on": 0.0}, "on = 0: allowed: above 0"),
        ({"on": 0.3, "off": 0.4}, "off = 0.4: allowed: up to on = 0.3"),
        ({"least_sec": -1.0}, "least_sec = -1"),
        ({"smooth_sec": float("nan")}, "smooth_sec = nan"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        segments_of(timeline(1.0, 0.0), answers(), Cut(**wrong))


def test_files_of_a_film(tmp_path: Path) -> None:
    film = timeline(0.9, 0.9, 0.2, 0.1)
    found = segments_of(film, answers(), Cut(**PLAIN))
    write_timeline(tmp_path / "film", film, found, ["a", "b"], 0.0)
    with (tmp_path / "film/segments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [list(row.values()) for row in rows] == [
        ["0.000", "2.500", "a", "0.9000"], ["2.500", "5.000", "b", "0.8500"],
    ]  # fmt: skip
    record = json.loads((tmp_path / "film/segments.json").read_text())
    assert record["segments"][1]["action"] == "b" and record["window_sec"] == 2.0 and record["num_windows"] == 4
    saved = np.load(tmp_path / "film/timeline.npz")
    assert np.array_equal(saved["probabilities"], film.values) and saved["end_sec"].tolist() == [2, 3, 4, 5]
    assert (tmp_path / "film/timeline.png").read_bytes()[:4] == b"\x89PNG"
    write_detections(tmp_path / "detections.json", {"film": found})
    written = json.loads((tmp_path / "detections.json").read_text())["results"]["film"]
    assert written[0] == {"label": "a", "score": pytest.approx(0.9), "segment": [0.0, 2.5]}


def test_the_bars_of_the_last_row_are_whole() -> None:
    film = timeline(0.9, 0.9, 0.2, 0.1)
    found = segments_of(film, answers(), Cut(**PLAIN))
    (axes,) = _figure(film, smoothed(film), found, ["a", "b"], [0, 1]).axes
    lowest = min(bar.get_paths()[0].vertices[:, 1].min() for bar in axes.collections)
    assert axes.get_ylim()[0] < lowest < -1


def test_a_film_without_a_segment_is_drawn_too(tmp_path: Path) -> None:
    film = timeline(0.4, 0.4, 0.4, others=[[0.3, 0.3, 0.3]])
    plot_timeline(tmp_path / "timeline.png", film, smoothed(film), [], ["$a$", "\u8df3"])
    assert (tmp_path / "timeline.png").stat().st_size > 5000
