"""One training of `robust_table`: over which trunk, by which method, and what the tuned model answers.

Shapes: B clips of a batch, N clips, C channels, T frames, H W pixels, K classes, D width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.robust_clips import KNOWN, RECIPES, training_clips
from videoadapt.config.schema import ModelConfig, OptimConfig
from videoadapt.data.structures import ClipBatch
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_model
from videoadapt.runs.forward import Precision, forward
from videoadapt.training.classification import Classification
from videoadapt.training.mixup import Mixup
from videoadapt.training.optimizer import build_optimizer
from videoadapt.training.schedules import WarmupCosine
from videoadapt.training.updater import Updater

BATCH, TESTED_AT_ONCE = 64, 128
METHODS: dict[str, dict[str, Any]] = {
    "linear": {"name": "linear"},
    "vpt-8": {"name": "vpt", "num_tokens": 8},
    "adaptformer-64": {"name": "adaptformer", "bottleneck": 64, "scale": 1.0},
    "lora-8": {"name": "lora", "rank": 8},
    "st_adapter-64": {"name": "st_adapter", "bottleneck": 64},
    "full": {"name": "full"},
}


@dataclass(frozen=True)
class Trunk:
    """A frozen start: the backbone and its weights, the side of its clips, and what is put on its frames' features."""

    backbone: dict[str, Any]
    weights: str
    px: int
    kernel: tuple[int, int, int]  # of st_adapter: along time, where the backbone has several times
    reads_order: bool  # without a probe over times, its frames are averaged, and in any order they are the same

    def adapter(self, method: str) -> Any:
        """The spec of a method: where frames are averaged, with an attentive probe over their times."""
        spec: Any = METHODS[method]
        if method == "st_adapter-64":
            spec = {**spec, "kernel": self.kernel}
        if self.reads_order:
            return spec
        probe = {"name": "attentive_probe", "over": "times", "num_times": 8}
        return [probe] if method in ("linear", "full") else [spec, probe]


@dataclass(frozen=True)
class Cell:
    """A training: of which trunk, by which method, on which clips, at which rate per 256 clips."""

    trunk: str
    method: str
    recipe: str
    rate: float
    seed: int
    epochs: int


class Enlarged(nn.Module):
    """A classifier for larger clips than those that it is given, which are enlarged bilinearly."""

    def __init__(self, classifier: Classifier, px: int):
        super().__init__()
        self.classifier, self.px = classifier, px

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        logits_BK: Tensor = self.classifier(self.enlarged(clips_BCTHW))
        return logits_BK

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        """Return what the head sees, (B, D)."""
        return self.classifier.features(self.enlarged(clips_BCTHW))

    def backbone_features(self, clips_BCTHW: Tensor) -> Tensor:
        """Return what the backbone gives, (B, D)."""
        features_BD: Tensor = self.classifier.backbone(self.enlarged(clips_BCTHW))
        return features_BD

    def enlarged(self, clips_BCTHW: Tensor) -> Tensor:
        """Return the clips at the side that the backbone takes."""
        if clips_BCTHW.shape[-1] == self.px:
            return clips_BCTHW
        frames = F.interpolate(clips_BCTHW.transpose(1, 2).flatten(0, 1), size=(self.px, self.px), mode="bilinear")
        return frames.unflatten(0, (len(clips_BCTHW), -1)).transpose(1, 2)


class Bench:
    """The folder of clips, the device and the trunks: what all cells of a process share."""

    def __init__(
        self, folder: Path, trunks: dict[str, Trunk], device: torch.device, kinds: list[str], attacked_per_class: int
    ):
        self.folder, self.trunks, self.device = folder, trunks, device
        self.kinds, self.attacked_per_class = kinds, attacked_per_class
        self.probed: dict[str, tuple[Tensor, Tensor]] = {}  # features of trunks that nothing was done to
        self.precision: Precision = "bf16" if device.type == "cuda" else "fp32"

    def build(self, trunk: Trunk, adapter: Any, everything: bool = False) -> Enlarged:
        """The classifier over a trunk, ready to train; `everything`: with the whole backbone."""
        spec = ModelConfig(backbone=trunk.backbone, weights=trunk.weights, adapter=adapter)
        classifier = build_model(spec, len(KNOWN), 8, trunk.px)
        if everything:
            classifier.requires_grad_(True)
        return Enlarged(classifier, trunk.px).to(self.device)

    def train(self, cell: Cell) -> Enlarged:
        """Train a cell; raises Diverged."""
        trunk, recipe, full = self.trunks[cell.trunk], RECIPES[cell.recipe], cell.method == "full"
        torch.manual_seed(cell.seed)
        net = self.build(trunk, trunk.adapter(cell.method), full)
        clips, labels_N = training_clips(self.folder, cell.recipe), torch.from_numpy(self.labels("train"))
        steps = len(labels_N) // BATCH
        optim = OptimConfig(name="adamw", lr_per_256=cell.rate, weight_decay=0.01, layer_decay=0.75 if full else 1.0)
        mixup = Mixup(
            mixup_alpha=recipe.mixup,
            cutmix_alpha=recipe.cutmix,
            label_smoothing=recipe.label_smoothing,
            num_classes=len(KNOWN),
        )
        updater = Updater(
            net,
            Classification(mixup, precision=self.precision, device=self.device),
            build_optimizer(net.classifier, net.classifier.backbone, optim),
            WarmupCosine(cell.rate * BATCH / 256, cell.epochs, steps, warmup_epochs=min(2, cell.epochs / 4)),
            seed=cell.seed,
        )
        rng = np.random.default_rng(cell.seed)
        for variant in rng.permutation(clips.shape[1])[: cell.epochs]:
            for rows in rng.permutation(len(labels_N))[: steps * BATCH].reshape(steps, BATCH):
                batch = torch.from_numpy(clips[rows, variant])
                updater.update([ClipBatch(batch, labels_N[rows], ("",) * BATCH, (None,) * BATCH)])
        return net.eval()

    def labels(self, split: str) -> NDArray[np.int64]:
        """The motions of a split's videos."""
        found: NDArray[np.int64] = np.load(self.folder / f"{split}_labels.npy")
        return found

    @torch.no_grad()
    def run(self, function: Any, clips_N: NDArray[np.uint8]) -> Tensor:
        """What `function` of the net makes of clips, float32 (N, ...)."""
        parts = np.array_split(np.arange(len(clips_N)), -(-len(clips_N) // TESTED_AT_ONCE))
        found = [forward(function, torch.from_numpy(clips_N[part]), self.precision, self.device) for part in parts]
        return torch.cat(found)

    def top1(self, net: Enlarged, clips_N: NDArray[np.uint8], labels_N: Any) -> float:
        """Accuracy in percent."""
        return 100 * float((self.run(net, clips_N).argmax(dim=1).cpu().numpy() == labels_N).mean())
