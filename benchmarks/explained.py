"""Whether what an explanation marks is what the answer hangs on: it is taken out, and so is as much elsewhere.

Of a video one view is looked at, the middle crop of the middle clip, and the class that the model finds most probable in it.
What is taken out becomes the clip's mean frame, so that nothing moves there: of every frame in some places, or all places in
some frames.
Shapes: C channels, T frames, H W pixels, h w places.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt import Predictor
from videoadapt.evaluation.intervals import t_quantile
from videoadapt.inference.explaining.explanation import view_map
from videoadapt.inference.explaining.methods import METHODS, Method
from videoadapt.log import progress
from videoadapt.runs.build_data import build_view_reader

SHARE = 0.2  # of the places, or of the frames, that is taken out
DRAWS = 8  # of places, and of frames, at random


def measure(predictor: Predictor, videos: Sequence[Path], methods: Sequence[Method] = METHODS) -> dict[str, Any]:
    """Points of probability that the class loses, for each method, by places and by frames: mean and 95 % interval over videos.

    "most", "least": by what is most and least marked; "random"; "most - random": of the same videos.
    """
    reader = build_view_reader(predictor.config.data.model_copy(update={"cache": "off"}), 1, 1)
    lost: dict[tuple[str, str, str], list[float]] = {}
    with progress("explained", len(videos), "videos") as line:
        for number, video in enumerate(videos):
            view_CTHW = reader(video)[0, 0]
            for key, points in _lost(predictor, view_CTHW, methods, np.random.default_rng(number)):
                lost.setdefault(key, []).append(points)
            line.advance()
    found: dict[str, Any] = {"videos": len(videos), "share": SHARE}
    for method in methods:
        found[method] = {}
        for what in ("places", "frames"):
            most, least = lost[method, what, "most"], lost[method, what, "least"]
            random = lost["", what, "random"]
            paired = [a - b for a, b in zip(most, random, strict=True)]
            rows = {"most": most, "random": random, "least": least, "most - random": paired}
            found[method][what] = {name: _mean_and_interval(values) for name, values in rows.items()}
    return found


def _lost(
    predictor: Predictor, view_CTHW: Tensor, methods: Sequence[Method], rng: np.random.Generator
) -> Iterator[tuple[tuple[str, str, str], float]]:
    """Points lost in one view: (method, "places" or "frames", how they were chosen) each."""
    probs_K = _probabilities(predictor, [view_CTHW])[0]
    label = int(probs_K.argmax())
    maps = {method: view_map(predictor.asking, predictor.classifier, view_CTHW, label, method) for method in methods}
    sides = next(iter(maps.values())).shape[1:]
    for what, out_of in (("places", math.prod(sides)), ("frames", view_CTHW.shape[1])):
        number = max(1, round(SHARE * out_of))
        chosen = {("", what, f"random {draw}"): rng.permutation(out_of)[:number] for draw in range(DRAWS)}
        for method, map_Thw in maps.items():
            values = map_Thw.sum(0).flatten() if what == "places" else map_Thw.sum((1, 2))
            order = np.argsort(-values.numpy(), kind="stable")
            chosen |= {(method, what, "most"): order[:number], (method, what, "least"): order[-number:]}
        without = [_without(view_CTHW, what, which, sides) for which in chosen.values()]
        points = (100 * (probs_K[label] - _probabilities(predictor, without)[:, label])).tolist()
        yield ("", what, "random"), statistics.mean(points[:DRAWS])
        yield from list(zip(chosen, points, strict=True))[DRAWS:]


def _without(view_CTHW: Tensor, what: str, which: np.ndarray, sides: Sequence[int]) -> Tensor:
    """The view with the clip's mean frame in these places of every frame, or in these frames."""
    mean_CHW = view_CTHW.float().mean(1).round().to(torch.uint8)
    if what == "frames":
        changed_CTHW = view_CTHW.clone()
        changed_CTHW[:, which] = mean_CHW[:, None]
        return changed_CTHW
    places_hw = torch.zeros(math.prod(sides))
    places_hw[which] = 1
    there_HW = F.interpolate(places_hw.view(1, 1, *sides), view_CTHW.shape[2:])[0, 0] > 0
    return torch.where(there_HW, mean_CHW[:, None], view_CTHW)


def _probabilities(predictor: Predictor, views: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        return predictor.asking.logits(torch.stack(list(views))).softmax(1)


def _mean_and_interval(values: Sequence[float]) -> dict[str, float]:
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.mean(values)
    return {"mean": round(mean, 2), "low": round(mean - half, 2), "high": round(mean + half, 2)}


def markdown(found: dict[str, Any]) -> str:
    """The same as a table."""
    lines = ["| method | taken out | most marked | at random | least marked | most less random |", "| --- " * 6 + "|"]
    for method in METHODS:
        for what, row in found.get(method, {}).items():
            cells = [f"{row[name]['mean']:.1f}" for name in ("most", "random", "least")]
            paired = row["most - random"]
            interval = f"{paired['mean']:.1f} ({paired['low']:.1f} to {paired['high']:.1f})"
            lines.append(f"| {method} | {what} | {' | '.join(cells)} | {interval} |")
    return "\n".join([*lines, ""])
