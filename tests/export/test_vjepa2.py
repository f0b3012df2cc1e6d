"""V-JEPA 2 with an adapter: programs and merged tensors are read back and give the same logits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toy_models import PLAIN
from videoadapt.config.schema import Config, DataConfig, ModelConfig
from videoadapt.export.programs import export_merged, export_onnx, export_torch
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_model

CLASSES = list("abcde")
ADAPTMLP = {"name": "adaptformer", "bottleneck": 4}


def adapted(adapter: Any, output: Path) -> tuple[Classifier, Config]:
    torch.manual_seed(0)
    backbone = {"name": "vjepa2", "version": "v2.1", "width": 32, "depth": 2, "num_heads": 2, "patch_px": 8}
    spec = ModelConfig(backbone=backbone, adapter=adapter, head=PLAIN)
    model = build_model(spec, 5, 4, [16, 24])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model, Config(output=output, model=spec, data=DataConfig(num_frames=4, crop_px=[16, 24]))


@pytest.mark.slow
def test_torch_export(tmp_path: Path) -> None:
    model, config = adapted([ADAPTMLP, {"name": "vpt"}], tmp_path)
    assert export_torch(model, config, CLASSES, tmp_path / "m.pt2") < 1e-5


@pytest.mark.slow
def test_onnx(tmp_path: Path) -> None:
    model, config = adapted(ADAPTMLP, tmp_path)
    assert export_onnx(model, config, CLASSES, tmp_path / "m.onnx") < 1e-5


def test_merged(tmp_path: Path) -> None:
    model, config = adapted([{"name": "lora"}, {"name": "bitfit"}], tmp_path)
    assert (
        export_merged(model, config, CLASSES, tmp_path / "m.safetensors") < 1e-5
    )  # compared with what the file gives again
