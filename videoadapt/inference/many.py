"""Many videos asked about: one pass for several of them, read ahead where that pays, and a word about each.

Shapes: V views of all videos of a pass, N clips and J crops of one, T frames, H W pixels, K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videoadapt import logger
from videoadapt.config.schema import Config
from videoadapt.data.structures import Unreadable, Video, VideoViews
from videoadapt.errors import DecodeError
from videoadapt.inference.answers import Answers, Prediction
from videoadapt.inference.long_films import OtherLengths
from videoadapt.inference.videos import DAMAGED, film_and_part
from videoadapt.runs.build_data import build_test_loader
from videoadapt.runs.rates import OtherRates

Array: TypeAlias = NDArray[np.floating]
READ_AHEAD_FROM = 16  # videos: processes that read take seconds to start


@dataclass(frozen=True)
class Answered:
    """What is said of one video: the `answers` of each task, or the `error` that keeps it from being read."""

    video: str
    answers: list[list[Prediction]] = field(default_factory=list)
    damaged_frames: int | None = None  # of those looked at; None where the decoder cannot tell
    error: str | None = None
    unknown: bool | None = None  # None where that was not asked

    @property
    def predictions(self) -> list[Prediction]:
        """The answer of the first, or only, task, best first; [] where the video cannot be read."""
        return self.answers[0] if self.answers else []


@dataclass(frozen=True)
class Asking:
    """A model and how it is asked: `logits` maps uint8 views (V, 3, T, H, W) to (V, K of all tasks beside each other)."""

    config: Config
    device: torch.device
    other_rates: OtherRates
    tasks: Sequence[Answers]
    logits: Callable[[Tensor], Tensor]
    # where it is given, features (V, D) stand beside the logits of the one task
    is_unknown: Callable[[Array, Array], bool] | None = None

    def each(self, videos: Sequence[str | Path], top: int) -> Iterator[Answered]:
        """Yield what is said of each video, in order; several share a pass, as far as `test.batch_size` has room.

        From READ_AHEAD_FROM videos on, `data.workers` processes read ahead, and a file at which a decoder hangs costs that file
        only. Sums of floats differ in their last bits from those of a video alone.
        """
        test, say_if_other = self.config.test, OtherLengths(self.config).note
        read = zip(map(str, videos), self._read(videos), strict=True)
        while group := list(islice(read, max(1, test.batch_size // (test.clips * test.crops)))):
            found = self._answers([item for _, item in group if isinstance(item, VideoViews)], top)
            for name, item in group:
                if isinstance(item, Unreadable):
                    yield Answered(name, error=item.reason)
                    continue
                self.other_rates.note(item.fps_hz)
                say_if_other(name, item.fps_hz, item.num_frames)
                if item.damaged_frames:
                    logger.warning(DAMAGED, name, item.damaged_frames)
                answers, unknown = next(found)
                yield Answered(name, answers, item.damaged_frames, unknown=unknown)

    def _read(self, videos: Sequence[str | Path]) -> Iterator[VideoViews | Unreadable]:
        rows, refused = [], {}
        for number, name in enumerate(videos):
            try:
                film, part = film_and_part(name)
                rows.append(Video(str(film), film, -1, 0, part))
            except DecodeError as error:  # seconds that are no part
                refused[number] = Unreadable(number, Video(str(name), Path(name), -1), str(error))
        workers = self.config.data.workers if len(rows) >= READ_AHEAD_FROM else 0
        data = self.config.data.model_copy(update={"cache": "off", "workers": workers})
        loader = iter(build_test_loader(rows, data, self.config.test.clips, self.config.test.crops, self.device))
        for number in range(len(videos)):
            yield refused[number] if number in refused else next(loader)

    def _answers(self, group: Sequence[VideoViews], top: int) -> Iterator[tuple[list[list[Prediction]], bool | None]]:
        """Of each video in the group, the answers of each task, and whether it is unknown."""
        if not group:
            return
        with torch.no_grad():
            values = self.logits(torch.cat([item.views_NJCTHW.flatten(0, 1) for item in group]))
        classes = [len(task.class_names) for task in self.tasks]
        for of_one in values.split([item.views_NJCTHW.shape[:2].numel() for item in group]):
            logits_VK, features_VD = of_one[:, : sum(classes)], of_one[:, sum(classes) :]
            parts = zip(self.tasks, logits_VK.split(classes, dim=1), strict=True)
            answers = [task.best(part, top) for task, part in parts]
            asked = self.is_unknown
            yield answers, None if asked is None else asked(logits_VK.numpy(), features_VD.mean(dim=0).numpy())
