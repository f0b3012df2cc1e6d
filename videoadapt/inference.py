"""Predictions and features for single video files, from a run folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from videoadapt.adapter_bank import AdapterBank
from videoadapt.adapter_file import read_adapter
from videoadapt.atomic import write_atomically
from videoadapt.clips import TestItem, TestViews
from videoadapt.config import Config, load_config
from videoadapt.data import build_test_loader
from videoadapt.errors import CheckpointError, ConfigError, DecodeError
from videoadapt.evaluation import average_views
from videoadapt.log import progress
from videoadapt.model import Classifier
from videoadapt.registry import DATASETS
from videoadapt.run import build_seeded_model, forward, open_run
from videoadapt.structures import Unreadable, Video


@dataclass(frozen=True)
class Prediction:
    """One class and its probability."""

    label: int
    name: str
    probability: float


class Predictor:
    """The model of a run, ready for any video file."""

    def __init__(self, config: Config, class_names: Sequence[str], model: Classifier, device: torch.device):
        self.config = config
        self.class_names = list(class_names)
        self.model = model
        self.device = device

    @classmethod
    def from_run(cls, folder: Path, device: torch.device) -> "Predictor":
        """Open a run folder. Raises CheckpointError when it holds no config or no checkpoint."""
        return cls(*open_run(folder, device), device)

    @classmethod
    def from_adapter(cls, path: Path, weights: str | None, device: torch.device) -> "Predictor":
        """An adapter file around the trunk in `weights` (None: the one that the file names, if it comes with videoadapt).

        Raises CheckpointError when either cannot be read, or the trunk is not the adapter's.
        """
        adapter = read_adapter(path)
        chosen = {"weights": weights or adapter.config.model.weights}
        config = adapter.config.model_copy(update={"model": adapter.config.model.model_copy(update=chosen)})
        model = build_seeded_model(config, len(adapter.class_names))
        adapter.load_into(model)
        return cls(config, adapter.class_names, model.to(device).eval(), device)

    @classmethod
    def from_config(cls, path: Path, device: torch.device) -> "Predictor":
        """The model of a config as it is before training: the trunk with `model.weights`, for features only."""
        config = load_config(path)
        model = build_seeded_model(config, num_classes=2)  # the head is not used
        return cls(config, [], model.to(device).eval(), device)

    @torch.inference_mode()
    def predict(self, path: Path, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes of a video, by the run's own test views. Raises DecodeError."""
        return _best(_over_views(self.model, self.config, self.device, path), self.class_names, self.config, top)

    @torch.inference_mode()
    def feature(self, views_VCTHW: Tensor) -> Tensor:
        """Mean over the views of the pooled feature that the head sees: uint8 (V, 3, T, H, W) -> (D,)."""
        return _in_batches(self.model.features, self.config, self.device, views_VCTHW).mean(dim=0)


@torch.inference_mode()
def predict_tasks(bank: AdapterBank, device: torch.device, path: Path, top: int = 5) -> list[list[Prediction]]:
    """What each task of a bank says about a video, decoded once for all. Raises DecodeError."""
    logits = bank.split(_over_views(bank, bank.config, device, path))
    return [_best(part, names, bank.config, top) for part, names in zip(logits, bank.class_names, strict=True)]


def _over_views(function: Callable[[Tensor], Tensor], config: Config, device: torch.device, path: Path) -> Tensor:
    """Logits of all test views of a video, (V, K)."""
    read = TestViews(config.data, config.test.clips, config.test.crops)
    views_VCTHW, reason = read(TestItem(0, Video(str(path), path, 0)))
    if views_VCTHW is None:
        raise DecodeError(reason)
    return _in_batches(function, config, device, views_VCTHW)


def _in_batches(
    function: Callable[[Tensor], Tensor], config: Config, device: torch.device, views_VCTHW: Tensor
) -> Tensor:
    parts = views_VCTHW.split(config.test.batch_size)
    return torch.cat([forward(function, config, device, part).cpu() for part in parts])


def _best(logits_VK: Tensor, class_names: Sequence[str], config: Config, top: int) -> list[Prediction]:
    probs_K = average_views(logits_VK, config.test.average, as_probs=True)
    best = probs_K.topk(min(top, len(class_names)))
    return [Prediction(int(label), class_names[int(label)], float(p)) for p, label in zip(*best, strict=True)]


def newest_run(outputs: Path) -> Path:
    """The run folder below `outputs` whose checkpoint is the newest. Raises CheckpointError when there is none."""
    found = sorted(outputs.glob("**/checkpoints/step_*.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(
            f"{outputs}: holds no trained run; train one (`make quickstart` takes minutes) or name one with --run FOLDER"
        )
    return found[-1].parent.parent


def write_features(
    predictor: Predictor, source: str, root: Path, num_clips: int, num_crops: int, out: Path
) -> tuple[int, list[Unreadable]]:
    """Write features (N, D), label (N) and video_id (N) of the videos of a list to `out` (.npz or .safetensors).

    Returns how many were written and the videos that cannot be read: those are left out. Raises DataListError for the
    list and ConfigError for another suffix.
    """
    if out.suffix not in (".npz", ".safetensors"):
        raise ConfigError(f"{out}: the suffix says the format; allowed: .npz, .safetensors")
    videos = DATASETS.build(predictor.config.data.dataset).load(source, root)
    rows, unreadable = [], []
    with progress("features", len(videos), "videos") as line:
        for item in build_test_loader(videos, predictor.config.data, num_clips, num_crops):
            if isinstance(item, Unreadable):
                unreadable.append(item)
            else:
                rows.append((item.video, predictor.feature(item.views_VCTHW).numpy()))
            line.advance()
    if not rows:
        raise DecodeError(f"{source}: none of its {len(videos)} videos can be read, first: {unreadable[0].reason}")
    arrays = {
        "features": np.stack([feature for _, feature in rows]),
        "label": np.array([video.label for video, _ in rows]),
    }
    ids = [video.id for video, _ in rows]

    def save(path: Path) -> None:
        if out.suffix == ".safetensors":  # holds tensors only, so the names travel as metadata
            save_file(arrays, path, {"video_id": json.dumps(ids, ensure_ascii=False)})
            return
        with path.open("wb") as file:
            np.savez(file, **arrays, video_id=np.array(ids))  # type: ignore[arg-type]

    write_atomically(out, save)
    return len(rows), unreadable
