"""One uploaded film looked at, in a process that it may end: the answer for all of it, and one for each window.

Shapes: W windows, J crops, T frames, H W pixels, K classes of a task.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from videoadapt.errors import ConfigError, DecodeError, VideoAdaptError, asked_for, is_of_memory
from videoadapt.evaluation.predictions import average_views
from videoadapt.inference.answers import Prediction
from videoadapt.inference.long_films import clip_sec
from videoadapt.inference.many import Asking
from videoadapt.inference.page.film import Measured, measure
from videoadapt.inference.page.limits import Limits
from videoadapt.inference.page.marks import marks
from videoadapt.inference.page.timeline import timeline_of
from videoadapt.inference.videos import as_video
from videoadapt.inference.windows import Slide, Timeline, slide
from videoadapt.models.classifier import Classifier
from videoadapt.runs.lettering import on_one_line
from videoadapt.video.decoders import reads_folders, reads_pictures
from videoadapt.video.windows import spread_windows

MOST_WINDOWS = 120  # of a film; those of a long one lie further apart, so that an answer takes minutes at most
TOP = 5

Open: TypeAlias = Callable[[], tuple[Sequence[Mapping[str, str]], Asking, Sequence[Classifier]]]
"""Opens the models: of each task where it is from, {"run": folder} or {"adapter": file}, how all are asked, and each
alone; of an ONNX file none, which does not show where it looked."""


class Question(NamedTuple):
    """What is asked about a film: what happens in it, or, of a class of a task, where that was seen."""

    film: Path
    task: int = 0
    label: int | None = None


@dataclass(frozen=True)
class Refused:
    """Why there is no answer, without the file's name."""

    reason: str


class Looker:
    """Opens the models when first asked, and answers with what the page shows; asked about None, says who answers."""

    def __init__(self, open_models: Open, limits: Limits, window_sec: float | None = None):
        self._open, self._limits, self._window_sec = open_models, limits, window_sec
        self._opened: tuple[list[str], Asking, Sequence[Classifier]] | None = None

    def __call__(self, asked: Question | None) -> dict[str, Any] | Refused:
        """What JSON can hold; Refused for a file that cannot be read, and models that cannot be opened."""
        try:
            if self._opened is None:
                sources, asking, models = self._open()
                _check_takes_films(asking)
                self._opened = titles(sources), asking, models
            names, asking, models = self._opened
            if asked is None:
                return {"models": _who(names, asking), "explains": bool(models)}
            if asked.label is None:
                return self._look(names, asking, asked.film)
            measure(asked.film, asking.config, self._limits)
            return marks(asking, models, asked.film, asked.task, asked.label)
        except VideoAdaptError as error:
            return Refused(str(error) if asked is None else str(error).replace(f"{asked.film}: ", ""))
        except (MemoryError, RuntimeError) as error:
            if not is_of_memory(error):
                raise
            return Refused(f"memory does not suffice{asked_for(error)}")

    @torch.no_grad()
    def _look(self, names: Sequence[str], asking: Asking, path: Path) -> dict[str, Any]:
        film = measure(path, asking.config, self._limits)
        whole = next(asking.each([path], TOP))
        if whole.error is not None:
            raise DecodeError(whole.error)
        found = _slide(film, asking, self._window_sec)
        parts = [None] * len(names) if found is None else _of_tasks(found, asking)
        tasks = [
            {
                "name": name,
                "whole": [_record(said) for said in best],
                "timeline": None if part is None else timeline_of(part, task),
            }
            for name, task, best, part in zip(names, asking.tasks, whole.answers, parts, strict=True)
        ]
        return {
            "film_sec": film.length_sec if found is None else found.end_sec,
            "window_sec": None if found is None else found.window_sec,
            "every_sec": None if found is None else found.every_sec,
            "damaged_frames": whole.damaged_frames,
            "other_rate": asking.other_rates.of_one(film.fps_hz),
            "clips": asking.config.test.clips,
            "tasks": tasks,
        }


def titles(sources: Sequence[Mapping[str, str]]) -> list[str]:
    """What each is called: the name of its file or folder, or all of its path where two have one name."""
    paths = [next(iter(source.values())) for source in sources]
    short = [Path(path.removeprefix("package:")).name for path in paths]
    count = Counter(short)
    return [on_one_line(path if count[name] > 1 else name) for path, name in zip(paths, short, strict=True)]


def progress_of(film: Path) -> Path:
    """Where it stands how much of a film is looked at, `done total`, in windows."""
    return film.with_suffix(".progress")


def _who(names: Sequence[str], asking: Asking) -> list[dict[str, Any]]:
    known = [[on_one_line(name) for name in task.class_names] for task in asking.tasks]
    return [{"name": name, "classes": classes} for name, classes in zip(names, known, strict=True)]


def _check_takes_films(asking: Asking) -> None:
    decoder = asking.config.data.decoder
    if reads_folders(decoder) or reads_pictures(decoder):
        raise ConfigError(
            f"--serve: the page takes films, and the model's data.decoder.name = {decoder['name']!r} reads none; ask it "
            "without --serve"
        )


def _slide(film: Measured, asking: Asking, window_sec: float | None) -> Timeline | None:
    """All tasks beside each other (W, sum of K), in at most MOST_WINDOWS; None where no length of a window is known."""
    window_sec = window_sec or (clip_sec(asking.config, film.fps_hz) if film.fps_hz else None)
    if window_sec is None:
        return None
    every_sec = max(window_sec / 2, (film.length_sec - window_sec) / (MOST_WINDOWS - 1))
    total, done = len(spread_windows(0.0, film.length_sec, window_sec, every_sec)), 0

    def values_of(views_WJCTHW: Tensor) -> Tensor:
        nonlocal done
        found_WK = _probabilities(asking, views_WJCTHW)
        done += len(found_WK)
        progress_of(film.path).write_text(f"{done} {total}", encoding="ascii")
        return found_WK

    return slide(
        as_video(film.path), asking.config, Slide(every_sec, window_sec, crops=1), asking.other_rates, values_of
    )


def _probabilities(asking: Asking, views_WJCTHW: Tensor) -> Tensor:
    """(W, sum of K), the mean over the crops."""
    logits_WJK = asking.logits(views_WJCTHW.flatten(0, 1)).unflatten(0, views_WJCTHW.shape[:2])
    parts = logits_WJK.split([len(task.class_names) for task in asking.tasks], dim=-1)
    found = [
        average_views(part_WJK, task.average, as_probs=True, labels=task.labels)
        for task, part_WJK in zip(asking.tasks, parts, strict=True)
    ]
    return torch.cat(found, dim=-1)


def _of_tasks(found: Timeline, asking: Asking) -> list[Timeline]:
    ends = np.cumsum([len(task.class_names) for task in asking.tasks])
    return [replace(found, values=values_WK) for values_WK in np.split(found.values, ends[:-1], axis=1)]


def _record(said: Prediction) -> dict[str, Any]:
    return {
        "label": said.label, "name": on_one_line(said.name), "probability": said.probability, "is_there": said.is_there,
    }  # fmt: skip
