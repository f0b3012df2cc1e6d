"""What is written of a film: timeline.png, segments.csv, segments.json and timeline.npz.

Shapes: W windows, K classes.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from videoadapt.errors import counted
from videoadapt.files import write_atomically, write_json
from videoadapt.inference.segments import Segment, bounds, shown_classes, smoothed
from videoadapt.inference.windows import Timeline
from videoadapt.runs.drawing import save_png, shorten
from videoadapt.runs.lettering import on_one_line

_BLUE, _PALE, _GREY = "#1f5fa8", "#a9c7e8", "#8a8f98"
_MOST_ROWS = 20


def write_timeline(
    folder: Path, timeline: Timeline, segments: Sequence[Segment], class_names: Sequence[str], smooth_sec: float | None
) -> None:
    """Write all four files of one film into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    probs_WK = smoothed(timeline, smooth_sec)
    write_segments(folder / "segments.csv", segments)
    write_json(folder / "segments.json", as_record(timeline, segments))
    starts_W, ends_W = np.array(timeline.windows).T

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(
                file, start_sec=starts_W, end_sec=ends_W, probabilities=timeline.values, class_names=np.array(class_names)
            )  # fmt: skip

    write_atomically(folder / "timeline.npz", save)
    plot_timeline(folder / "timeline.png", timeline, probs_WK, segments, class_names)


def as_record(timeline: Timeline, segments: Sequence[Segment]) -> dict[str, Any]:
    """What segments.json holds: the film, how it was looked at, and its segments."""
    return {
        "video": timeline.film,
        "start_sec": timeline.start_sec,
        "end_sec": timeline.end_sec,
        "fps_hz": timeline.fps_hz,
        "num_frames": timeline.num_frames,
        "damaged_frames": timeline.damaged_frames,
        "window_sec": timeline.window_sec,
        "every_sec": timeline.every_sec,
        "num_windows": len(timeline.windows),
        "segments": [
            {
                "start_sec": round(s.start_sec, 6), "end_sec": round(s.end_sec, 6), "label": s.label, "action": s.name,
                "confidence": s.confidence,
            }
            for s in segments
        ],
    }  # fmt: skip


def write_segments(path: Path, segments: Sequence[Segment]) -> None:
    """Write start_sec, end_sec, action, confidence: a row a segment."""

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["start_sec", "end_sec", "action", "confidence"])
            rows.writerows([f"{s.start_sec:.3f}", f"{s.end_sec:.3f}", s.name, f"{s.confidence:.4f}"] for s in segments)

    write_atomically(path, write)


def write_detections(path: Path, found: Mapping[str, Sequence[Segment]]) -> None:
    """Write the segments of several films as ActivityNet's results: label, score and segment of each, by film."""
    results = {
        name: [{"label": s.name, "score": s.confidence, "segment": [s.start_sec, s.end_sec]} for s in segments]
        for name, segments in found.items()
    }
    content = {"version": "VERSION 1.3", "results": results, "external_data": {"used": False, "details": ""}}
    write_atomically(
        path, lambda partial: partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    )


def plot_timeline(
    path: Path,
    timeline: Timeline,
    probs_WK: NDArray[np.float64],
    segments: Sequence[Segment],
    class_names: Sequence[str],
) -> None:
    """Draw a row for each class that has a segment, or comes near one: its probability, and its segments as bars, as a PNG."""
    rows = shown_classes(probs_WK, segments, _MOST_ROWS)
    names = (class_names[label] for label in rows)
    save_png(path, lambda: _figure(timeline, probs_WK, segments, class_names, rows), names)


def _figure(
    timeline: Timeline,
    probs_WK: NDArray[np.float64],
    segments: Sequence[Segment],
    class_names: Sequence[str],
    rows: Sequence[int],
) -> Figure:
    figure = Figure(figsize=(12, 1.3 + 0.42 * len(rows)), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    at = bounds(timeline)
    for place, label in enumerate(rows):
        base = -place
        steps_W = base - 0.4 + 0.8 * np.clip(probs_WK[:, label], 0, 1)
        axes.fill_between(at, base - 0.4, np.append(steps_W, steps_W[-1]), step="post", color=_PALE, linewidth=0)
        bars = [(s.start_sec, s.end_sec - s.start_sec) for s in segments if s.label == label]
        axes.broken_barh(bars, (base - 0.46, 0.14), color=_BLUE, linewidth=0)
    axes.set_yticks([-place for place in range(len(rows))], [shorten(on_one_line(class_names[k])) for k in rows])
    axes.set_ylim(0.52 - len(rows), 0.55)  # below the last row's bars
    axes.set_xlim(timeline.start_sec, timeline.end_sec)
    _style(axes, timeline)
    left_out = len({s.label for s in segments}) - len(rows)
    more = f"; {counted(left_out, 'class')} more" if left_out > 0 else ""
    said = f"{counted(len(segments), 'segment')}{more}" if segments else "no segment; the most probable classes"
    name = shorten(on_one_line(Path(timeline.film).name))
    axes.set_title(f"{name}: {said}. Bars: segments; filled: probability, 0 to 1", fontsize=9, loc="left")
    return figure


def _style(axes: Axes, timeline: Timeline) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda sec, _: _clock(sec, timeline.end_sec - timeline.start_sec)))
    axes.set_xlabel("seconds" if timeline.end_sec < 120 else "time", color=_GREY)
    axes.grid(axis="x", alpha=0.25)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _clock(sec: float, span_sec: float) -> str:
    """A moment as people read it: seconds of a short film, minutes and seconds of a longer one, hours of an hour."""
    if span_sec < 120:
        return f"{sec:g}"
    minutes, seconds = divmod(round(sec), 60)
    return f"{minutes}:{seconds:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
