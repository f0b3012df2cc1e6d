"""A video's views with what was marked in them, for one class.

Shapes: N clips and J crops of each, C channels, T frames, H W pixels, t h w of a map.
"""

import operator
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.errors import ConfigError, did_you_mean
from videoadapt.inference.answers import Prediction
from videoadapt.inference.explaining.methods import METHODS, Method, map_by_frames
from videoadapt.inference.explaining.trace import traced
from videoadapt.inference.many import Asking
from videoadapt.inference.videos import Asked, AskedReader
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build_data import build_view_reader
from videoadapt.video.part import FramesOfPart


@dataclass(frozen=True)
class Explanation:
    """Where and when a model looked in a video for the class of `prediction`.

    `maps_NJTHW`: float32, of each view by itself 0 at its least place and 1 at its most; all 0 where no place differs.
    `clips_NJTHWC`: what the model saw, uint8 RGB. `frames_NT`: which frames of the film these are, and `seconds_NT` when they
    begin; None of a picture, and of frames in memory or in a folder whose rate is not known.
    """

    video: str
    prediction: Prediction
    method: Method
    maps_NJTHW: np.ndarray
    clips_NJTHWC: np.ndarray
    frames_NT: np.ndarray
    seconds_NT: np.ndarray | None

    def save(self, path: str | Path) -> None:
        """Write a contact sheet as a PNG: of each clip the middle crop's frames, what is marked there, and of several when."""
        from videoadapt.inference.explaining.sheet import write_sheet  # matplotlib is slow to import
        from videoadapt.runs.lettering import in_a_sentence

        middle, said = self.maps_NJTHW.shape[1] // 2, self.prediction
        if self.seconds_NT is None:
            several = self.frames_NT.any()  # and not a picture
            moments = [[f"frame {frame}" if several else "" for frame in clip] for clip in self.frames_NT]
        else:
            moments = [[f"{seconds:.2f} s" for seconds in clip] for clip in self.seconds_NT]
        of, film = in_a_sentence(said.name), in_a_sentence(Path(self.video).name)
        title = f"{of}: {100 * said.probability:.1f} %   {film} ({self.method})"
        write_sheet(Path(path), title, self.clips_NJTHWC[:, middle], self.maps_NJTHW[:, middle], moments)


def explained(asking: Asking, model: Classifier, asked: Asked, label: int | str | None, method: str) -> Explanation:
    """Explain the answer to a video; `label`: the class, by name or number, None for the most probable one.

    Raises ConfigError for no such class or method, and for a model that has no such map; DecodeError for the film.
    """
    chosen, (answers,) = method_of(method), asking.tasks
    wanted = None if label is None else number_of(label, answers.class_names)
    views_NJCTHW, _ = AskedReader(asking.config, asking.other_rates)(asked)
    views_VCTHW = views_NJCTHW.flatten(0, 1)
    with torch.no_grad():
        said = answers.best(asking.logits(views_VCTHW), len(answers.class_names))
    prediction = next(one for one in said if wanted in (None, one.label))
    maps_VThw = torch.stack([view_map(asking, model, view, prediction.label, chosen) for view in views_VCTHW])
    maps_VTHW = F.interpolate(maps_VThw, views_VCTHW.shape[-2:], mode="bilinear", align_corners=False)
    return Explanation(
        str(asked) if isinstance(asked.film, Path) else "frames",
        prediction,
        chosen,
        normalised(maps_VTHW).unflatten(0, views_NJCTHW.shape[:2]).numpy(),
        views_NJCTHW.permute(0, 1, 3, 4, 5, 2).numpy(),
        *_when(asking, asked),
    )


def method_of(name: str) -> Method:
    """The method of this name. Raises ConfigError for none."""
    found = next((method for method in METHODS if method == name), None)
    if found is None:
        raise ConfigError(f"method = {name!r}: allowed: {', '.join(METHODS)}")
    return found


def number_of(label: int | str, class_names: Sequence[str]) -> int:
    """The class that a name or a number means. Raises ConfigError for none."""
    if label in class_names:
        return class_names.index(str(label))
    if isinstance(label, SupportsIndex) and 0 <= (number := operator.index(label)) < len(class_names):
        return number
    raise ConfigError(f"label = {label!r}: no such class; {did_you_mean(str(label), class_names)}")


def view_map(asking: Asking, model: Classifier, view_CTHW: Tensor, label: int, method: Method) -> Tensor:
    """The map of one uint8 view by places, (T, h, w) float32 on the CPU, 0 or more."""
    return map_by_frames(traced(model, view_CTHW, asking.config.train.precision, asking.device), label, method).cpu()


def normalised(maps_VTHW: Tensor) -> Tensor:
    """Of each view by itself the least value as 0 and the largest as 1; all 0 where they are the same."""
    least, most = maps_VTHW.amin((1, 2, 3), keepdim=True), maps_VTHW.amax((1, 2, 3), keepdim=True)
    return torch.where(most > least, (maps_VTHW - least) / (most - least), torch.zeros_like(maps_VTHW))


def _when(asking: Asking, asked: Asked) -> tuple[np.ndarray, np.ndarray | None]:
    """Which frames of the film its clips are, (N, T), and when they begin."""
    test = asking.config.test
    reader = build_view_reader(asking.config.data.model_copy(update={"cache": "off"}), test.clips, test.crops)
    with closing(reader.open(asked.film)) as film:
        part = None if asked.part is None else FramesOfPart(film, asked.part, asked.film)
        frames_NT = reader.chosen(film) if part is None else reader.chosen(part) + part.first_frame
        if film.fps_hz is None:  # of a picture, and of frames whose rate was not said
            return frames_NT, None
        begin_sec = np.concatenate([[0.0], film.times.until_sec[:-1]])
        return frames_NT, begin_sec[frames_NT]
