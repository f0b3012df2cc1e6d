"""A camera or a stream asked about while it runs: what the model sees in the last moments, and which frames it missed.

Shapes: J = 1 crop, T frames, H W pixels.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.inference.answers import Prediction
from videoadapt.inference.many import Asking
from videoadapt.inference.videos import FramesInMemory
from videoadapt.runs.build_data import build_sampler, build_view_reader
from videoadapt.video.live import Live, Moment, Span
from videoadapt.video.readers import ViewReader
from videoadapt.video.times import Times


class Look(NamedTuple):
    """What is seen from `start_sec` to `end_sec` of a stream; `num_missed` of the `num_frames` so far no look has seen.

    Frames are missed where the model takes longer than they last.
    """

    start_sec: float
    end_sec: float
    predictions: list[Prediction]
    num_frames: int
    num_missed: int


def watch(asking: Asking, source: str, top: int = 5, window_sec: float | None = None) -> Iterator[Look]:
    """Yield looks at a camera, by its index, or a stream, by its URL, until it ends, each half a window after the last.

    A window is as long as the clips of the training, or `window_sec`. Raises DecodeError when the source cannot be opened,
    breaks off or is too short, and ConfigError for another source, and for a run on whole videos without `window_sec`.
    """
    config = asking.config
    reader = build_view_reader(config.data.model_copy(update={"cache": "off"}), 1, 1)
    seen, missed, step = -1, 0, 1

    def keep(rgb_HWC: np.ndarray) -> Tensor:
        with closing(reader.open(FramesInMemory(rgb_HWC[None], 1.0))) as frame:
            return reader.crops(torch.from_numpy(frame.get([0])[0])).clone()

    with closing(Live(source, keep, _span(asking, window_sec))) as live:
        asking.other_rates.note(live.fps_hz)
        asking.other_rates.say()
        while (moments := live.after(seen, step)) is not None:
            missed += max(0, moments[0].number - seen - 1)
            seen, step = moments[-1].number, max(1, len(moments) // 2)
            with torch.no_grad():
                logits_1K = asking.logits(_views(reader, moments))
            best = asking.tasks[0].best(logits_1K, top)
            yield Look(moments[0].seconds, moments[-1].seconds, best, seen + 1, missed)


def _span(asking: Asking, window_sec: float | None) -> Span:
    sampler = build_sampler(asking.config.data)
    frames = sampler.clip_span(asking.config.data.num_frames)
    if window_sec is not None:
        if not 0 < window_sec < float("inf"):
            raise ConfigError(f"window_sec = {window_sec}: allowed: above 0")
        return Span(None, window_sec)
    if frames is None:
        raise ConfigError(
            "window_sec: this model was trained on whole videos; say about how long they were (--window-sec)"
        )
    return Span(frames) if sampler.fps_hz is None else Span(None, frames / sampler.fps_hz)


class _Shown:
    """These moments as a video from which frames are chosen."""

    def __init__(self, moments: list[Moment[Tensor]]):
        self.num_frames = len(moments)
        starts_N = np.array([moment.seconds for moment in moments]) - moments[0].seconds
        last_sec = starts_N[-1] / max(1, len(moments) - 1)  # that the last one stays: as long as the others
        self.times = Times(np.append(starts_N[1:], starts_N[-1] + last_sec))


def _views(reader: ViewReader, moments: list[Moment[Tensor]]) -> Tensor:
    """The view of these moments: uint8 (1, 3, T, H, W)."""
    ((*indices,),) = reader.chosen(cast(Any, _Shown(moments)))
    return torch.stack([moments[int(index)].kept for index in indices], dim=2)
