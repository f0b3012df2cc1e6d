"""A long film: the probabilities of every class in windows of the trained length, one after the other.

Shapes: W windows, N = 1 clip and J crops of each, T frames, H W pixels, K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from videoadapt import logger
from videoadapt.config.schema import MOST_CROPS, Config
from videoadapt.errors import ConfigError, DecodeError, check_count
from videoadapt.evaluation.predictions import average_views
from videoadapt.inference.answers import Answers
from videoadapt.inference.long_films import clip_sec
from videoadapt.inference.videos import DAMAGED, Asked
from videoadapt.log import progress
from videoadapt.runs.build_data import build_view_reader
from videoadapt.runs.rates import OtherRates
from videoadapt.video.part import Part
from videoadapt.video.readers import notes_on
from videoadapt.video.windows import KnownTimes, spread_windows, views_of_parts

Item = TypeVar("Item")


@dataclass(frozen=True)
class Timeline:
    """What a model sees in a film: float32 `values` (W, K), of each of its `windows`, in their order.

    Values are probabilities of classes, or features where those were asked for (W, D). `start_sec` and `end_sec` bound what
    was looked at; `every_sec` is the distance from window to window, of which the last one may be nearer. `damaged_frames` of
    those that were read the decoder marked; None where it cannot tell.
    """

    film: str
    windows: Sequence[Part]
    values: np.ndarray
    start_sec: float
    end_sec: float
    window_sec: float
    every_sec: float
    fps_hz: float | None
    num_frames: int
    damaged_frames: int | None


_LEAST_SEC = 0.001  # less than any frame lasts: more windows would be looked at for ever, and show nothing new


@dataclass(frozen=True)
class Slide:
    """How windows slide over a film; None: of the trained length, half of it apart, with the crops of the run's test."""

    every_sec: float | None = None
    window_sec: float | None = None
    crops: int | None = None
    to_the_end: bool = True  # by a last window that may be nearer to the one before

    def check(self) -> None:
        """Raise ConfigError for what is no length of time, or no number of crops."""
        for name, value in (("every_sec", self.every_sec), ("window_sec", self.window_sec)):
            if value is not None and not _LEAST_SEC <= value < float("inf"):
                raise ConfigError(f"{name} = {value}: allowed: {_LEAST_SEC} or more")
        if self.crops is not None:
            check_count("crops", self.crops, most=MOST_CROPS)


def slide(
    asked: Asked,
    config: Config,
    how: Slide,
    other: OtherRates,
    values_of: Callable[[Tensor], Tensor],
) -> Timeline:
    """Look at a film through windows; `values_of` makes (W, ...) of uint8 views (W, J, 3, T, H, W), as many as fit a batch.

    The frames of a window are to the bit those of the same part alone (film.mp4#t=1.5,4), with one clip. Memory does not grow
    with the film, but for the values. Raises DecodeError naming the film, and ConfigError where the length of a window has
    to be said: a model that samples whole videos has none.
    """
    how.check()
    crops = how.crops or config.test.crops
    reader = build_view_reader(config.data.model_copy(update={"cache": "off", "decoder": _for_films(config)}), 1, crops)
    with closing(reader.open(asked.film)) as opened:
        film = KnownTimes(opened)
        start_sec, end_sec = _bounds(asked, film)
        window_sec = how.window_sec or _trained_sec(config, film)
        every_sec = how.every_sec or window_sec / 2
        windows = spread_windows(start_sec, end_sec, window_sec, every_sec, how.to_the_end)
        other.note(notes_on(film).fps_hz)
        views = views_of_parts(reader, film, windows, asked.film)
        at_once, values, done = max(1, config.test.batch_size // crops), torch.empty(0), 0
        with progress("windows", len(windows), "windows") as line:
            for batch in _ahead(_batches(views, at_once)):
                found = values_of(batch)
                # to their place at once: kept between the large parts that are freed, small ones make memory grow
                values = values if done else found.new_empty(len(windows), *found.shape[1:])
                values[done : done + len(batch)] = found
                done += len(batch)
                line.advance(count=len(batch))
        damaged = None if film.damaged is None else len(film.damaged)
        if damaged:
            logger.warning(DAMAGED, asked, damaged)
        return Timeline(
            film=str(asked) if isinstance(asked.film, Path) else "frames",
            windows=windows,
            values=values.numpy(),
            start_sec=start_sec,
            end_sec=end_sec,
            window_sec=window_sec,
            every_sec=every_sec,
            fps_hz=film.fps_hz,
            num_frames=film.num_frames,
            damaged_frames=damaged,
        )


def probabilities(answers: Answers, logits_of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """From views (W, J, 3, T, H, W) to the probabilities of all classes (W, K), float32: the mean over the crops."""

    def values_of(views_WJCTHW: Tensor) -> Tensor:
        logits_WJK = logits_of(views_WJCTHW).unflatten(0, views_WJCTHW.shape[:2])
        return average_views(logits_WJK, answers.average, as_probs=True, labels=answers.labels)

    return values_of


def mean_features(features_of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """From views (W, J, 3, T, H, W) to features (W, D): the mean over the crops."""
    return lambda views_WJCTHW: features_of(views_WJCTHW).unflatten(0, views_WJCTHW.shape[:2]).mean(dim=1)


def _for_films(config: Config) -> dict[str, Any]:
    """The decoder for a whole film: the run's, but for decord PyAV, whose pictures are the same to the bit.

    decord keeps what it once took: after an hour its process held 0.3 to 0.8 GB more than after ten minutes.
    """
    decoder = config.data.decoder
    return {**decoder, "name": "pyav"} if decoder["name"] == "decord" else decoder


def _trained_sec(config: Config, film: KnownTimes) -> float:
    """How long the clips of the training are in this film. Raises ConfigError for a model that was trained on whole videos."""
    length_sec = clip_sec(config, film.fps_hz) if film.fps_hz else None
    if length_sec is None:
        raise ConfigError(
            f"window_sec: this model was trained on whole videos (data.sampling.name = "
            f"{config.data.sampling['name']!r}), so that it knows no length of a window; say about how long they were"
        )
    return length_sec


def _bounds(asked: Asked, film: KnownTimes) -> tuple[float, float]:
    """Between which seconds of the film windows lie."""
    length_sec = film.times.length_sec
    if asked.part is None:
        return 0.0, length_sec
    if problem := asked.part.problem_in(film.num_frames, length_sec):
        raise DecodeError(f"{asked.film}: {problem}")
    start_sec, end_sec = asked.part.bounds_sec(film.times.until_sec)
    return start_sec, min(end_sec, length_sec)


def _batches(views: Iterator[Tensor], at_once: int) -> Iterator[Tensor]:
    """(N = 1, J, ...) of each window to (W, J, ...) of `at_once` windows."""
    while batch := list(islice(views, at_once)):
        yield torch.cat(batch)


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next one made while the last one is used."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item
