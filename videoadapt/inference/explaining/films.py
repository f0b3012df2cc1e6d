"""A film written again with what was marked in it: windows over it, each explained by itself, the nearest at each moment.

Shapes: W windows, J crops, T frames, H W pixels, h w places.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from videoadapt.inference.captions import LEAST_SIDE_PX, Captions, whole_film
from videoadapt.inference.explaining.explanation import method_of, normalised, number_of, view_map
from videoadapt.inference.explaining.heat import colours
from videoadapt.inference.many import Asking
from videoadapt.inference.videos import as_video
from videoadapt.inference.windows import Slide, probabilities, slide
from videoadapt.runs.build_data import build_view_reader
from videoadapt.video.part import Part
from videoadapt.video.readers import CropBox
from videoadapt.video.rewriting import redraw
from videoadapt.video.windows import KnownTimes, frames_of

if TYPE_CHECKING:
    from videoadapt.inference.predictor import Predictor

_HEAT_PX = 160  # the short side of what is drawn, and then made as large as the film


def explain_film(
    predictor: "Predictor",
    film: str | Path,
    out: Path | None = None,
    gif: Path | None = None,
    label: int | str | None = None,
    *,
    method: str = "grad_cam",
    window_sec: float | None = None,
) -> int:
    """Write the film with what is marked for a class (None: of each window the most probable one); return its frames' number.

    Windows are those of `Predictor.timeline`, seen in the crops of the run's test; times and sound are the film's. Raises
    DecodeError for a film that cannot be read and for a part of one, ConfigError for no such class, method or container.
    """
    path = whole_film(film, out)
    asking, model = predictor.asking, predictor.classifier
    chosen, (answers,) = method_of(method), asking.tasks
    wanted = None if label is None else number_of(label, answers.class_names)
    maps: list[Tensor] = []

    probabilities_of = probabilities(answers, lambda views_WJCTHW: asking.logits(views_WJCTHW.flatten(0, 1)))

    def values_of(views_WJCTHW: Tensor) -> Tensor:
        probs_WK = probabilities_of(views_WJCTHW)
        for views_JCTHW, probs_K in zip(views_WJCTHW, probs_WK, strict=True):
            of = int(probs_K.argmax()) if wanted is None else wanted
            maps.append(normalised(torch.stack([view_map(asking, model, view, of, chosen) for view in views_JCTHW])))
        return probs_WK

    with torch.no_grad():
        timeline = slide(as_video(path), asking.config, Slide(window_sec=window_sec), asking.other_rates, values_of)
    shown_K = slice(None) if wanted is None else slice(wanted, wanted + 1)
    captions = Captions(
        timeline.windows, timeline.values[:, shown_K], answers.class_names[shown_K], 1, out or gif or path
    )
    begins_WT, boxes = _places(asking, path, timeline.windows)
    marks = Marks(timeline.windows, begins_WT, torch.stack(maps), boxes)

    def draw(frame_HWC: np.ndarray, seconds: float) -> None:
        marks.draw(frame_HWC, seconds)
        captions.draw(frame_HWC, seconds)

    return redraw(path, draw, out, gif, LEAST_SIDE_PX)


def _places(asking: Asking, path: Path, windows: Sequence[Part]) -> tuple[np.ndarray, list[CropBox]]:
    """When each frame of each window begins, (W, T), and where the crops lie in a frame."""
    reader = build_view_reader(asking.config.data.model_copy(update={"cache": "off"}), 1, asking.config.test.crops)
    with closing(reader.open(path)) as opened:
        film = KnownTimes(opened)
        begins_sec = np.concatenate([[0.0], film.times.until_sec[:-1]])
        frames_WT = np.stack([frames_of(reader, film, window, path)[0] for window in windows])
        return begins_sec[frames_WT], reader.boxes(film.height, film.width)


class Marks:
    """Draws of each moment the map of the window whose middle is nearest, where its crops lie in the frame."""

    def __init__(self, windows: Sequence[Part], begins_WT: np.ndarray, maps_WJThw: Tensor, boxes: Sequence[CropBox]):
        """`begins_WT`: when each frame of a window begins, in seconds; maps from 0 to 1."""
        middles_W = np.array([(part.start_sec + part.end_sec) / 2 for part in windows])
        self._edges = (middles_W[1:] + middles_W[:-1]) / 2
        self._begins_WT, self._maps_WJThw, self._boxes = begins_WT, maps_WJThw, boxes

    def draw(self, frame_HWC: np.ndarray, seconds: float) -> None:
        """Draw on the frame what is marked at this moment."""
        height, width, _ = frame_HWC.shape
        scale = min(1.0, _HEAT_PX / min(height, width))
        small_HW = self.at(seconds, round(height * scale), round(width * scale))
        heat = Image.fromarray(colours(small_HW)).resize((width, height), Image.Resampling.BILINEAR)
        picture = Image.fromarray(frame_HWC)
        picture.paste(heat.convert("RGB"), (0, 0), heat.getchannel("A"))
        frame_HWC[:] = np.asarray(picture)

    def at(self, seconds: float, height: int, width: int) -> np.ndarray:
        """The map of a whole frame at a moment, (height, width): between two frames that were seen, between their maps.

        Where crops overlap it is their mean, and 0 where none has looked.
        """
        window = int(np.searchsorted(self._edges, seconds))
        begins_T, maps_JThw = self._begins_WT[window], self._maps_WJThw[window]
        place = float(np.interp(seconds, begins_T, np.arange(len(begins_T))))
        before, after = int(place), min(int(place) + 1, len(begins_T) - 1)
        maps_Jhw = torch.lerp(maps_JThw[:, before], maps_JThw[:, after], place - before)
        summed, counted = torch.zeros(height, width), torch.zeros(height, width)
        for map_hw, box in zip(maps_Jhw, self._boxes, strict=True):
            seen_HW, inside_HW = _laid(map_hw, box, height, width)
            summed, counted = summed + seen_HW, counted + inside_HW
        return np.asarray(summed / counted.clamp(min=1))


def _laid(map_hw: Tensor, box: CropBox, height: int, width: int) -> tuple[Tensor, Tensor]:
    """A crop's map where it lies in the frame, (height, width), and 1 where that is."""
    rows = (((torch.arange(height) + 0.5) / height - box.top) / (box.bottom - box.top)) * 2 - 1
    columns = (((torch.arange(width) + 0.5) / width - box.left) / (box.right - box.left)) * 2 - 1
    inside_HW = ((rows.abs() <= 1)[:, None] & (columns.abs() <= 1)[None]).float()
    points = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
    laid = F.grid_sample(map_hw[None, None], points[None], padding_mode="border", align_corners=False)[0, 0]
    return laid * inside_HW, inside_HW
