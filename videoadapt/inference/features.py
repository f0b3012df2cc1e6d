"""Features of a list of videos as one file."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from videoadapt import logger
from videoadapt.data.structures import Unreadable, Video
from videoadapt.errors import ConfigError, DecodeError, counted
from videoadapt.files import write_atomically
from videoadapt.inference.onnx_model import OnnxModel
from videoadapt.inference.predictor import Predictor
from videoadapt.log import progress
from videoadapt.runs.build_data import build_test_loader
from videoadapt.runs.given_lists import load_given
from videoadapt.runs.statement import Statement
from videoadapt.weights.files import safetensors_bytes


def write_features(
    predictor: Predictor, source: str, root: str | Path, num_clips: int, num_crops: int, out: str | Path
) -> tuple[int, list[Unreadable]]:
    """Write features (N, D), label (N) and video_id (N) of the videos of a list to `out` (.npz or .safetensors).

    Of videos with several labels, label is 1 where each has one of the model's classes, uint8 (N, K).

    Beside them stands the statement of what they are made of (runs/statement.py), with this number of clips and crops.

    Returns how many were written and the videos that cannot be read: those are left out. Raises DataListError for the
    list and ConfigError for another suffix.
    """
    out = Path(out)
    if out.suffix not in (".npz", ".safetensors"):
        raise ConfigError(f"{out}: the suffix says the format; allowed: .npz, .safetensors")
    videos = load_given(source, Path(root), predictor.config.data)
    rows, unreadable = _seen(predictor, videos, num_clips, num_crops)
    if not rows:
        raise DecodeError(
            f"{source}: none of its {counted(len(videos), 'video')} can be read, first: {unreadable[0].reason}"
        )
    arrays = {
        "features": np.stack([feature for _, feature in rows]),
        "label": _labels([video for video, _ in rows], len(predictor.class_names)),
    }
    assert not isinstance(predictor.model, OnnxModel), "it has no features, and has said so"
    views = predictor.config.test.model_copy(update={"clips": num_clips, "crops": num_crops})
    config = predictor.config.model_copy(update={"test": views})
    statement = Statement.of(config, predictor.class_names, predictor.model).as_json()
    _save(out, arrays, [video.id for video, _ in rows], statement)
    return len(rows), unreadable


def _seen(
    predictor: Predictor, videos: Sequence[Video], num_clips: int, num_crops: int
) -> tuple[list[tuple[Video, np.ndarray]], list[Unreadable]]:
    """Each video that can be read with its feature, and the others; what was damaged is said."""
    rows, unreadable, damaged = [], [], {}
    with progress("features", len(videos), "videos") as line:
        for item in build_test_loader(videos, predictor.config.data, num_clips, num_crops, predictor.device):
            if isinstance(item, Unreadable):
                unreadable.append(item)
            else:
                if item.damaged_frames:
                    damaged[item.video.id] = item.damaged_frames
                predictor.other_rates.note(item.fps_hz)
                rows.append((item.video, predictor.mean_feature(item.views_NJCTHW).numpy()))
            line.advance()
    if damaged:
        logger.warning(
            "%s damage that the decoder conceals, %d of the frames that were read; first %s",
            counted(len(damaged), "video has", "videos have"), sum(damaged.values()), next(iter(damaged)),
        )  # fmt: skip
    predictor.other_rates.say()
    return rows, unreadable


def _save(out: Path, arrays: dict[str, np.ndarray], ids: list[str], statement: str) -> None:
    def save(path: Path) -> None:
        if out.suffix == ".safetensors":  # holds tensors only, so the names travel as metadata
            metadata = {"video_id": json.dumps(ids, ensure_ascii=False), "statement": statement}
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            path.write_bytes(safetensors_bytes(tensors, metadata))
            return
        with path.open("wb") as file:
            np.savez(file, **arrays, video_id=np.array(ids), statement=np.array(statement))  # type: ignore[arg-type]

    write_atomically(out, save)


def _labels(videos: list[Video], num_classes: int) -> np.ndarray:
    if videos[0].labels is None:
        return np.array([video.label for video in videos])
    highest = max((max(video.labels or (), default=-1) for video in videos), default=-1)
    targets_NK = np.zeros((len(videos), max(num_classes, highest + 1)), dtype=np.uint8)
    for row, video in enumerate(videos):
        targets_NK[row, list(video.labels or ())] = 1
    return targets_NK
