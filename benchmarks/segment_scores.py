"""Segments of films whose truth is known: labelled clips one after the other, with and without pauses between them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from videoadapt.evaluation.segmentation import NOTHING, segment_scores
from videoadapt.inference.predictor import Predictor
from videoadapt.inference.segments import Cut, Segment, segments_of
from videoadapt.video.decoders import open_video


class Joined(NamedTuple):
    """A film of several clips, and the label of each of its frames."""

    path: Path
    fps_hz: float
    labels_N: np.ndarray


def join_clips(clips: Sequence[tuple[Path, int]], path: Path, pause_sec: float = 0.0) -> Joined:
    """Write the clips one after the other as H.264; with a pause the last frame of each stays, and nothing happens."""
    labels: list[int] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        stream = None
        for clip, label in clips:
            with open_video(clip) as video:
                frames_NHWC, fps_hz = video[:], float(video.fps_hz or 0)
            still = [frames_NHWC[-1]] * round(pause_sec * fps_hz)
            if stream is None:
                stream = film.add_stream("libx264", rate=round(fps_hz), options={"crf": "18", "preset": "veryfast"})
                stream.height, stream.width, stream.pix_fmt = *frames_NHWC.shape[1:3], "yuv420p"
            for frame_HWC in [*frames_NHWC, *still]:
                film.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
            labels += [label] * len(frames_NHWC) + [NOTHING] * len(still)
        assert stream is not None
        film.mux(stream.encode())
    return Joined(path, fps_hz, np.array(labels, dtype=np.int64))


def frame_labels(segments: Sequence[Segment], num_frames: int, fps_hz: float) -> np.ndarray:
    """The label of each frame, int64 (N,): of the segment that its middle is in."""
    labels_N = np.full(num_frames, NOTHING, dtype=np.int64)
    middles_N = (np.arange(num_frames) + 0.5) / fps_hz
    for segment in segments:
        labels_N[(segment.start_sec <= middles_N) & (middles_N < segment.end_sec)] = segment.label
    return labels_N


def draw_films(run: Predictor, root: Path, out: Path, per_film: int, pause_sec: float, seed: int = 0) -> list[Joined]:
    """All test clips below `root`/<class>/, in an order drawn from the seed, `per_film` of them a film."""
    clips = [
        (path, label) for label, name in enumerate(run.class_names) for path in sorted((root / name).glob("*.mp4"))
    ]
    order = np.random.default_rng(seed).permutation(len(clips))
    shuffled = [clips[place] for place in order]
    starts = range(0, len(shuffled) - per_film + 1, per_film)
    return [join_clips(shuffled[at : at + per_film], out / f"{at}_{pause_sec:g}.mp4", pause_sec) for at in starts]


def measure(run: Predictor, root: Path, out: Path, per_film: int, every_sec: float, cut: Cut) -> dict[str, Any]:
    """Frame accuracy, edit score and F1 of films without pauses, and of films with a second of stillness after each clip."""
    result: dict[str, Any] = {"every_sec": every_sec}
    for name, pause_sec in (("actions alone", 0.0), ("pauses between", 1.0)):
        films = draw_films(run, root, out, per_film, pause_sec)
        predicted = []
        for film in films:
            timeline = run.timeline(film.path, every_sec=every_sec)
            predicted.append(frame_labels(segments_of(timeline, run.answers, cut), len(film.labels_N), film.fps_hz))
        scores = segment_scores(predicted, [film.labels_N for film in films])
        result[name] = {
            "films": len(films), "frames": sum(len(film.labels_N) for film in films),
            "accuracy": round(scores.accuracy, 2), "edit": round(scores.edit, 2),
            "f1": {f"{overlap:g}": round(value, 2) for overlap, value in scores.f1.items()},
        }  # fmt: skip
    return result
