"""Where a model looked in a film for a class, as the page shows it: a contact sheet, and when it looked most.

Shapes: N clips and J crops of each, T frames, H W pixels, K classes of a task.
"""

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from videoadapt.errors import ConfigError
from videoadapt.inference.explaining.explanation import explained
from videoadapt.inference.many import Asking
from videoadapt.inference.videos import as_video
from videoadapt.models.classifier import Classifier
from videoadapt.runs.lettering import on_one_line


def marks(asking: Asking, models: Sequence[Classifier], film: Path, task: int, label: int) -> dict[str, Any]:
    """What JSON can hold. Raises ConfigError for no such task or class, and DecodeError for the film."""
    if not models:
        raise ConfigError("where it looked cannot be seen in an ONNX file; ask the run, or its adapter")
    if not 0 <= task < len(models):
        raise ConfigError(f"task = {task}: allowed: 0 to {len(models) - 1}")
    found = explained(_alone(asking, task), models[task], as_video(film), label, "grad_cam")
    sheet = film.with_suffix(".png")
    try:
        replace(found, video="this film").save(sheet)
        picture = base64.b64encode(sheet.read_bytes()).decode()
    finally:
        sheet.unlink(missing_ok=True)
    share_NT = found.maps_NJTHW[:, found.maps_NJTHW.shape[1] // 2].mean(axis=(2, 3))
    most = np.unravel_index(share_NT.argmax(), share_NT.shape)
    return {
        "name": on_one_line(found.prediction.name),
        "picture": f"data:image/png;base64,{picture}",
        "most_sec": None if found.seconds_NT is None else round(float(found.seconds_NT[most]), 3),
    }


def _alone(asking: Asking, task: int) -> Asking:
    """One of the tasks."""

    def logits(views_VCTHW: Tensor) -> Tensor:
        return asking.logits(views_VCTHW).split([len(each.class_names) for each in asking.tasks], dim=-1)[task]

    return replace(asking, tasks=[asking.tasks[task]], logits=logits)
