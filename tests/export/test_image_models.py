"""Image models of timm with adapters are read back as other models are: programs, and merged tensors under our names."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.timm_models import FAMILIES, FRAMES, build_small, clip_for
from tests.toy_models import PLAIN
from videoadapt.config.schema import Config, DataConfig, ModelConfig
from videoadapt.errors import ConfigError
from videoadapt.export.programs import export_merged, export_onnx, export_torch
from videoadapt.models.classifier import Classifier
from videoadapt.weights.formats import read_weights

CLASSES = list("abcde")


def adapted(monkeypatch: pytest.MonkeyPatch, family: str, adapter: Any, output: Path) -> tuple[Classifier, Config]:
    small = FAMILIES[family]
    model = build_small(monkeypatch, small, adapter)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    spec = ModelConfig(backbone={"name": "timm", "model": small.model}, adapter=adapter, head=PLAIN)
    return model, Config(output=output, model=spec, data=DataConfig(num_frames=FRAMES, crop_px=small.side_px))


SLOW = [pytest.param(family, marks=pytest.mark.slow) for family in ("EVA-02 Ti, S", "Swin", "Hiera")]


@pytest.mark.parametrize("family", ["DINOv2, registers", *SLOW])
def test_torch_export_takes_batches_of_any_size(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = [{"name": "adaptformer", "bottleneck": 4}, {"name": "st_adapter", "bottleneck": 4, "before": ["mlp"]}]
    model, config = adapted(monkeypatch, family, spec, tmp_path)
    assert export_torch(model, config, CLASSES, tmp_path / "m.pt2") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", ["DINOv2, registers", "EVA-02 Ti, S", "Swin"])
def test_onnx_does_too(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = adapted(monkeypatch, family, {"name": "adaptformer", "bottleneck": 4}, tmp_path)
    assert export_onnx(model, config, CLASSES, tmp_path / "m.onnx") < 1e-5


@pytest.mark.slow
def test_what_torch_onnx_cannot_write_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hiera's windows are a fifth dimension of its attention."""
    model, config = adapted(monkeypatch, "Hiera", {"name": "linear"}, tmp_path)
    with pytest.raises(ConfigError, match=r"^.*m\.onnx: torch\.onnx cannot write this model \(.*\); export to \.pt2$"):
        export_onnx(model, config, CLASSES, tmp_path / "m.onnx")


@pytest.mark.parametrize("family", ["DINOv2, registers", "BEiT", "Swin"])
def test_a_merged_file_is_the_plain_model(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = adapted(monkeypatch, family, [{"name": "lora"}, {"name": "bitfit"}], tmp_path)
    clip = clip_for(FAMILIES[family])
    with torch.no_grad():
        before = model.backbone(clip)
    assert export_merged(model, config, CLASSES, tmp_path / "m.safetensors") < 1e-5
    plain = build_small(monkeypatch, FAMILIES[family], {"name": "linear"})
    tensors = read_weights(str(tmp_path / "m.safetensors")).tensors
    plain.load_state_dict(tensors)
    with torch.no_grad():
        torch.testing.assert_close(plain.backbone(clip), before, rtol=1e-5, atol=1e-6)
