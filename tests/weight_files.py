"""Weight files of toy size: the golden ones, changed ones, the toy model that they fit, and how one is refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from videoadapt.config.schema import ModelConfig
from videoadapt.errors import CheckpointError
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import Head
from videoadapt.models.loading import load_backbone, save_backbone
from videoadapt.runs.build import build_model
from videoadapt.weights.formats import read_weights

DATA = Path(__file__).parent / "golden"
SIZES = {
    "name": "vit",
    "size": "tiny",
    "width": 32,
    "depth": 2,
    "num_heads": 2,
    "patch_px": 16,
}  # as in tests/toy_runs.py
TOY = {"size": "tiny", "width": 48, "depth": 3, "num_heads": 3}


def toy(num_classes: int = 5, batch_norm: bool = False, **dims) -> Classifier:
    vit = ViT(**(TOY | dims))
    head = Head(vit.width, num_classes, batch_norm=batch_norm, sync=False, dropout=0.0, init_std=0.01)
    return Classifier(vit, head).eval()


def state(file: str) -> dict[str, Tensor]:
    content = torch.load(DATA / file)
    return dict(content.get("model") or content["module"])


def saved(tmp_path: Path, content: object, name: str = "weights.pth") -> str:
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


def refusal(location: str, model: Classifier | None = None) -> str:
    """The message with which a file is refused."""
    with pytest.raises(CheckpointError) as error:
        load_backbone(model or toy(), read_weights(location))
    return str(error.value)


def trunk(path: Path, seed: int = 1, **dims: int) -> Path:
    """A weight file of a toy trunk with random values."""
    torch.manual_seed(seed)
    model = build_model(ModelConfig(backbone=SIZES | dims, adapter={"name": "full"}), 2, 4, 32)
    save_backbone(model.backbone, path, {}, half=True)
    return path
