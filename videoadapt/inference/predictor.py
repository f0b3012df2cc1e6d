"""Predictions and features for single video files, from a run folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config
from videoadapt.evaluation.predictions import average_views
from videoadapt.inference.adapter_bank import AdapterBank
from videoadapt.models.classifier import Classifier
from videoadapt.runs.adapter_file import read_adapter
from videoadapt.runs.build import build_seeded_model, build_view_reader, open_run
from videoadapt.runs.forward import forward


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
    views_NJCTHW = build_view_reader(config.data, config.test.clips, config.test.crops)(path)
    return _in_batches(function, config, device, views_NJCTHW.flatten(0, 1))


def _in_batches(
    function: Callable[[Tensor], Tensor], config: Config, device: torch.device, views_VCTHW: Tensor
) -> Tensor:
    parts = views_VCTHW.split(config.test.batch_size)
    return torch.cat([forward(function, config, device, part).cpu() for part in parts])


def _best(logits_VK: Tensor, class_names: Sequence[str], config: Config, top: int) -> list[Prediction]:
    probs_K = average_views(logits_VK, config.test.average, as_probs=True)
    best = probs_K.topk(min(top, len(class_names)))
    return [Prediction(int(label), class_names[int(label)], float(p)) for p, label in zip(*best, strict=True)]
