"""A film's timeline as the page draws it: rows of probabilities, segments, and the best classes of each window.

Shapes: W windows, K classes.
"""

from typing import Any

import numpy as np

from videoadapt.inference.answers import Answers
from videoadapt.inference.segments import Cut, bounds, segments_of, shown_classes, smoothed
from videoadapt.inference.windows import Timeline
from videoadapt.runs.lettering import on_one_line

MOST_ROWS, BEST = 8, 3


def timeline_of(found: Timeline, answers: Answers) -> dict[str, Any]:
    """What JSON can hold, of the timeline of one task.

    `edges_sec` (W + 1) are those between which a window speaks for the film; `rows` have probabilities (W), smoothed as
    segments are; `best` (W) are those of a window alone, which `demo --out` draws on a film.
    """
    names = [on_one_line(name) for name in answers.class_names]
    segments, probs_WK = segments_of(found, answers, Cut()), smoothed(found)
    return {
        "edges_sec": np.round(bounds(found), 3).tolist(),
        "rows": [
            {"name": names[label], "probabilities": np.round(probs_WK[:, label], 4).tolist()}
            for label in shown_classes(probs_WK, segments, MOST_ROWS)
        ],
        "segments": [
            {
                "name": names[s.label], "start_sec": round(s.start_sec, 3), "end_sec": round(s.end_sec, 3),
                "confidence": s.confidence,
            }
            for s in segments
        ],
        "best": [
            [
                {"name": names[label], "probability": float(probs_K[label])}
                for label in np.argsort(-probs_K, kind="stable")[:BEST]
            ]
            for probs_K in found.values
        ],
    }  # fmt: skip
